/** A look at the server over plain HTTP, because a browser hides from a page why its handshake failed. */

/** Asks only the page's own server: the Content-Security-Policy allows no other. */
export async function probe(url) {
  if (url.host !== location.host) return "unknown";
  const look = (path) => fetch(path, { cache: "no-store", signal: AbortSignal.timeout(3000) });
  try {
    // Beside the page, for the server may stand below a path. Any answer will do.
    await look("healthz");
    return (await look(url.pathname)).status === 404 ? "no such path" : "alive";
  } catch {
    return "silent";
  }
}
