// What went wrong, in sentences for people. The API's own messages are for programs too.

import { Problem } from "./api.js";

const BUSY = "The server has too much to do just now. Try again in a moment.";
const SENTENCES = {
  overloaded: BUSY,
  too_many_requests: BUSY,
  deadline_exceeded: "This took too long, because the server is busy. Try again in a moment.",
  library_busy: "Another program is changing this library. Try again in a moment.",
  library_unavailable: "This library cannot be used just now. The server's log says why.",
  internal: "Something went wrong on the server. Its log says what.",
  disk_full: "The server's disk is full, so this was not kept.",
  no_such_item: "This image is not in the library any more.",
  no_such_library: "This library is not there any more.",
  cannot_undo: "This cannot be taken back any more.",
  read_only: "Nothing can be changed here.",
};
const FOR_PROGRAMS = /\b(GET|POST|PATCH|header|Retry-After|request_id|--\w+)\b|\/docs/;

/** A sentence or two about an error. */
export function sentence(error) {
  if (!(error instanceof Problem)) return "The server cannot be reached.";
  if (SENTENCES[error.code]) return SENTENCES[error.code];
  return [error.message, error.hint].filter((part) => part && !(part === error.hint && FOR_PROGRAMS.test(part))).map(asSentence).join(" ");
}

/** A message as a sentence; a file's name at its start stays as it is. */
function asSentence(text) {
  const first = text.split(" ", 1)[0];
  const begun = first.includes(".") ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
