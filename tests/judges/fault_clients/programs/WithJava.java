// Java's java.net.http.WebSocket. What it is asked and what it tells is described in jobs.py.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.URLDecoder;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.net.http.WebSocketHandshakeException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

public class WithJava {
    static final Duration TIMEOUT = Duration.ofSeconds(3);
    static final int PIECE = 65536, SHOWN = 5;

    /** What became of one visit. */
    static class Told implements WebSocket.Listener {
        final CountDownLatch over = new CountDownLatch(1);
        final int closeAfter;
        final StringBuilder text = new StringBuilder();
        final List<String> heard = new ArrayList<>();
        int bytes = 0, count = 0;
        volatile boolean opened = false, ended = true;
        volatile long accepted = 0;
        Integer status = null, code = null;
        String subprotocol = "", last = "", reason = "", error = "";

        Told(int closeAfter) {
            this.closeAfter = closeAfter;
        }

        synchronized void hear(WebSocket ws, String message) {
            last = message.length() > 200 ? message.length() + " characters" : message;
            count++;
            if (heard.size() < SHOWN) heard.add(last);
            if (count == closeAfter) {
                ws.sendClose(WebSocket.NORMAL_CLOSURE, "");
            }
        }

        @Override
        public CompletionStage<?> onText(WebSocket ws, CharSequence data, boolean isLast) {
            text.append(data);
            if (isLast) {
                hear(ws, text.toString());
                text.setLength(0);
            }
            ws.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onBinary(WebSocket ws, ByteBuffer data, boolean isLast) {
            bytes += data.remaining();
            if (isLast) {
                hear(ws, bytes + " bytes");
                bytes = 0;
            }
            ws.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket ws, int statusCode, String why) {
            code = statusCode;
            reason = why;
            over.countDown();
            return null;
        }

        @Override
        public void onError(WebSocket ws, Throwable failure) {
            fail(failure);
            over.countDown();
        }

        synchronized void fail(Throwable failure) {
            error = failure.getClass().getSimpleName() + ": " + failure.getMessage();
        }

        String json(int number, double seconds) {
            List<String> quoted = new ArrayList<>();
            for (String each : heard) quoted.add(quote(each));
            return "{\"number\": " + number + ", \"opened\": " + opened + ", \"status\": " + status
                + ", \"subprotocol\": " + quote(subprotocol) + ", \"heard\": " + quoted + ", \"count\": " + count
                + ", \"last\": " + quote(last) + ", \"code\": " + code + ", \"reason\": " + quote(reason)
                + ", \"error\": " + quote(error) + ", \"ended\": " + ended + ", \"accepted\": " + accepted
                + ", \"seconds\": " + Math.round(seconds * 100) / 100.0 + "}";
        }
    }

    static String quote(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char each : text.toCharArray()) {
            if (each == '"' || each == '\\') quoted.append('\\').append(each);
            else if (each < 0x20 || each > 0x7e) quoted.append(String.format("\\u%04x", (int) each));
            else quoted.append(each);
        }
        return quoted.append('"').toString();
    }

    static Map<String, List<String>> parse(String line) {
        Map<String, List<String>> job = new HashMap<>();
        for (String pair : line.strip().split("&")) {
            String[] sides = pair.split("=", 2);
            job.computeIfAbsent(sides[0], name -> new ArrayList<>())
                .add(URLDecoder.decode(sides[1], StandardCharsets.UTF_8));
        }
        return job;
    }

    static void visit(HttpClient client, Map<String, List<String>> job) throws Exception {
        Told told = new Told(Integer.parseInt(job.get("close_after").get(0)));
        long began = System.nanoTime();
        long patience = (long) (Double.parseDouble(job.get("patience").get(0)) * 1e9);
        WebSocket ws = null;
        try {
            WebSocket.Builder builder = client.newWebSocketBuilder().connectTimeout(TIMEOUT);
            List<String> offered = job.getOrDefault("subprotocol", List.of());
            if (!offered.isEmpty()) {
                builder.subprotocols(offered.get(0), offered.subList(1, offered.size()).toArray(new String[0]));
            }
            ws = left(builder.buildAsync(URI.create(job.get("url").get(0)), told), began, patience);
            told.opened = true;
            told.subprotocol = ws.getSubprotocol();
            for (String text : job.getOrDefault("say", List.of())) {
                left(ws.sendText(text, true), began, patience);
            }
            long flood = Long.parseLong(job.get("flood").get(0));
            while (told.accepted < flood) {
                left(ws.sendBinary(ByteBuffer.allocate(PIECE), true), began, patience);
                told.accepted += PIECE;
            }
            told.ended = told.over.await(patience - (System.nanoTime() - began), TimeUnit.NANOSECONDS);
        } catch (TimeoutException late) {
            told.ended = false;
        } catch (ExecutionException failed) {
            told.fail(failed.getCause());
            if (failed.getCause() instanceof WebSocketHandshakeException refused && refused.getResponse() != null
                    && refused.getResponse().statusCode() != 101) {
                told.status = refused.getResponse().statusCode();
            }
        } catch (IllegalArgumentException refused) {
            told.fail(refused);
        }
        if (ws != null) ws.abort();
        synchronized (told) {
            int number = Integer.parseInt(job.get("number").get(0));
            System.out.println(told.json(number, (System.nanoTime() - began) / 1e9));
            System.out.flush();
        }
    }

    /** What comes of it, if that comes in time. */
    static <T> T left(CompletableFuture<T> promised, long began, long patience) throws Exception {
        return promised.get(patience - (System.nanoTime() - began), TimeUnit.NANOSECONDS);
    }

    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder().connectTimeout(TIMEOUT).build();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null;) visit(client, parse(line));
        System.exit(0);
    }
}
