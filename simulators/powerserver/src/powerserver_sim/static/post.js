import { toast } from "./toast.js";

/** POST a form's fields; gives the answer's JSON, or null after telling why it was refused. */
export async function post(url, fields, onProblem = (words) => toast(words, "", true)) {
  let answer;
  try {
    answer = await fetch(url, { method: "POST", body: new URLSearchParams(fields), headers: { Accept: "application/json" } });
  } catch {
    onProblem("The server did not answer. Please try again.");
    return null;
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  onProblem(body.error ? body.error.message : "That did not work.");
  return null;
}
