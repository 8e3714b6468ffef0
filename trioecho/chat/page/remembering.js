/** What the page remembers from one visit to the next, where the browser lets it. */

export function remembered(what) {
  try {
    return localStorage.getItem(`trioecho-chat-${what}`);
  } catch {
    return null;
  }
}

export function remember(what, value) {
  try {
    localStorage.setItem(`trioecho-chat-${what}`, value);
  } catch {
    // Then it is typed again.
  }
}
