/** Bytes and numbers as people read and write them. */

/** The bytes that were typed as hex digits: spaces, colons, commas, dashes and 0x are welcome. Throws a RangeError to show. */
export function parseHex(text) {
  const digits = text.replace(/\b0x|\\x|[\s:,;-]/gi, "");
  const stranger = digits.match(/[^0-9a-f]/iu);
  if (stranger) throw new RangeError(`“${stranger[0]}” is not a hex digit. Use 0 to 9 and a to f, such as “de ad be ef”.`);
  if (digits.length % 2) throw new RangeError(`${count(digits.length, "hex digit")} cannot be split into bytes: each byte takes two.`);
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** How many bytes a message takes: text travels as UTF-8. */
export function sizeOf(data) {
  return typeof data === "string" ? new TextEncoder().encode(data).length : data.length;
}

/** Made once: making one takes milliseconds. */
export const { format } = new Intl.NumberFormat("en");

export function milliseconds(time) {
  return `${time.toFixed(time < 100 ? 1 : 0)} ms`;
}

export function count(number, unit) {
  return `${format(number)} ${unit}${number === 1 ? "" : "s"}`;
}
