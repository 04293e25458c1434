/** EverycoreErrors as gRPC says them; whatever else was thrown becomes `internal` with a number to look up in the log. */
import type { ErrorCode } from "@everycore/protocol";
import { EverycoreError } from "@everycore/protocol";
import type { ServiceError } from "@grpc/grpc-js";
import { Metadata, status } from "@grpc/grpc-js";
import { errors } from "@nats-io/nats-core";
import type { Logger } from "pino";

const statusOf: Readonly<Record<ErrorCode, status>> = {
  "bad-input": status.INVALID_ARGUMENT,
  "not-found": status.NOT_FOUND,
  ambiguous: status.INVALID_ARGUMENT,
  conflict: status.FAILED_PRECONDITION,
  "over-limit": status.RESOURCE_EXHAUSTED,
  "bad-task": status.INVALID_ARGUMENT,
  unreachable: status.UNAVAILABLE,
  "no-leader": status.UNAVAILABLE,
  "storage-full": status.RESOURCE_EXHAUSTED,
  refused: status.UNAUTHENTICATED,
  timeout: status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  internal: status.INTERNAL,
};

/** The connection is down or its server is busy coming up: it passes, and callers may try again. */
const isNatsAway = (thrown: unknown): boolean =>
  thrown instanceof errors.TimeoutError ||
  thrown instanceof errors.NoRespondersError ||
  thrown instanceof errors.RequestError ||
  thrown instanceof errors.ConnectionError ||
  thrown instanceof errors.ClosedConnectionError ||
  thrown instanceof errors.DrainingConnectionError;

/** On an answer: a call that came from another coordinator was not taken, and nothing was done (forward.ts, T2). */
export const notTakenKey = "ec-not-taken";

/** A coordinator that does not lead has taken nothing of the call. */
export class NotLeading extends EverycoreError {
  constructor() {
    super("no-leader", "this coordinator does not lead at the moment", { hint: "try again in a moment" });
  }
}

let internalCount = 0;

/** Never shows a stack trace to a caller. */
export function toServiceError(thrown: unknown, log: Logger, method: string): ServiceError {
  let error: EverycoreError;
  if (thrown instanceof EverycoreError && thrown.code !== "internal") error = thrown;
  else if (isNatsAway(thrown)) {
    log.warn({ err: thrown, method }, "NATS did not answer an RPC");
    error = new EverycoreError("unreachable", "NATS does not answer the coordinator at the moment", {
      hint: "try again in a moment; if it lasts, look at nats-server",
      cause: thrown,
    });
  } else {
    internalCount += 1;
    log.error({ err: thrown, method, number: internalCount }, "an RPC failed");
    const said = thrown instanceof EverycoreError ? thrown.message : "the coordinator failed";
    error = new EverycoreError("internal", `${said} (error ${internalCount} in the coordinator's log)`);
  }
  const metadata = new Metadata();
  metadata.set("ec-code", error.code);
  // Metadata values are ASCII; a hint with other letters would make the whole answer fail.
  if (error.hint !== "") metadata.set("ec-hint", error.hint.replaceAll(/[^\x20-\x7e]/g, "?"));
  if (thrown instanceof NotLeading) metadata.set(notTakenKey, "1");
  return Object.assign(new Error(error.message), {
    code: statusOf[error.code],
    details: error.message,
    metadata,
  });
}
