/** What a field has in it; or the field says why that will not do. */

import { make } from "../log.js";

/** The text of a field, without the white space around it; undefined, if that is nothing, or does not fit. */
export function checked(id, sentence, fits = Boolean) {
  const field = document.getElementById(id);
  const text = field.value.trim();
  if (fits(text)) return text;
  const error = make("p", "error", sentence);
  error.id = `${id}-error`;
  error.role = "alert";
  field.ariaInvalid = "true";
  field.setAttribute("aria-describedby", error.id);
  field.parentElement.append(error);
  field.focus();
  return undefined;
}

/** An error belongs to what was just tried, and goes when something else is. */
export function forgive() {
  for (const field of document.querySelectorAll("[aria-invalid]")) {
    document.getElementById(`${field.id}-error`)?.remove();
    field.ariaInvalid = null;
    field.removeAttribute("aria-describedby");
  }
}
