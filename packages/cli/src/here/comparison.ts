/** Whether an item that ran here ended as it did on the cluster: one sentence. */
import type { JobInfo, Outcome } from "@everycore/client/internal";
import type { ErrorInfo } from "@everycore/protocol";
import { readError, valueText } from "../terminal/result-line.ts";

const shownCharacters = 200;

/** `there`: the cluster's outcome, undefined while there is none. */
export function comparisonText(info: JobInfo, here: Outcome, there: Outcome | undefined): string {
  if (info.reduced) return "the cluster keeps no outcome of its own of this item: it went into the reduction";
  if (there === undefined)
    return info.state === "failed"
      ? `the cluster has no outcome of it: the job failed (${info.reason})`
      : "the cluster has no outcome of it yet";
  if (there.isValue) {
    if (here.isValue && isSame(here, there)) return "the cluster has the same value";
    return `the cluster has ${here.isValue ? "another value" : "a value"}: ${cut(valueText(there))}`;
  }
  if (here.status === there.status && isSameFailure(readError(here), readError(there)))
    return `the cluster has the same ${there.status}`;
  const what = there.status === "error" ? "an error" : `the outcome ${there.status}`;
  return `the cluster has ${what}: ${cut(errorLine(there))}`;
}

/** Of a death the words differ: on the cluster it takes two to be blamed for it. */
const isSameFailure = (one: ErrorInfo, other: ErrorInfo): boolean =>
  one.kind === "crash"
    ? one.signal === other.signal && one.exitCode === other.exitCode
    : one.kind === "timeout" || (one.name === other.name && one.message === other.message);

export const isSame = (one: Outcome, other: Outcome): boolean =>
  one.codec === other.codec && one.payload.equals(other.payload);

function errorLine(outcome: Outcome): string {
  const { name, message } = readError(outcome);
  return name === outcome.status ? message : `${name}: ${message}`;
}

const cut = (text: string): string =>
  text.length <= shownCharacters ? text : `${text.slice(0, shownCharacters)}...`;
