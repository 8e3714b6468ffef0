/** What the fields accept. Each function returns the value, or throws a RangeError whose sentence is for the reader. */

import { count, sizeOf } from "./binary.js";

/** RFC 9110 §5.6.2: what a subprotocol's name may be made of. */
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/** RFC 6455 §5.5: a control frame carries 125 bytes at most, and a close code takes two of them. */
const REASON_BYTES = 123;

/** The path of the WebSocket at the page's own server, which fills it in, as a URL has it. */
export const endpoint = encodeURI(document.querySelector("[name=trioecho-endpoint]").content);

export const ownUrl = `${location.protocol.replace("http", "ws")}//${location.host}${endpoint}`;

export function parseUrl(text) {
  const url = URL.parse(text);
  if (!/^(ws|http)s?:$/.test(url?.protocol)) throw new RangeError(`This is not a WebSocket URL. It should look like “${ownUrl}”.`);
  if (url.protocol.startsWith("http")) {
    throw new RangeError(`A WebSocket URL starts with ws:// or wss://. Did you mean “${url.href.replace("http", "ws")}”?`);
  }
  url.hash = "";
  if (location.protocol === "https:" && url.protocol === "ws:") {
    throw new RangeError("This page came over HTTPS, so the browser allows only wss:// from here.");
  }
  return url;
}

export function parseSubprotocols(text) {
  const names = text.split(/[\s,]+/).filter(Boolean);
  const wrong = names.find((name) => !TOKEN.test(name));
  if (wrong) throw new RangeError(`“${wrong}” cannot be a subprotocol: use letters, digits and - . _ with commas between names.`);
  return [...new Set(names)];
}

export function parseCloseCode(text) {
  const code = Number(text);
  if (code === 1000 || (Number.isInteger(code) && code >= 3000 && code < 5000)) return code;
  throw new RangeError("A browser lets a page close with 1000 or with 3000 to 4999.");
}

export function parseCloseReason(text) {
  const size = sizeOf(text);
  if (size > REASON_BYTES) throw new RangeError(`The reason takes ${count(size, "byte")}; a close frame has room for ${REASON_BYTES}.`);
  return text;
}
