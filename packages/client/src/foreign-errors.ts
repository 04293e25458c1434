/**
 * The one place where gRPC's errors become ours. A coordinator says its code in metadata `ec-code`; what comes
 * without one was said by the transport, and is judged by the gRPC status.
 */
import { EverycoreError, isErrorCode } from "@everycore/protocol";
import type { ErrorCode } from "@everycore/protocol";
import { status } from "@grpc/grpc-js";
import type { Metadata } from "@grpc/grpc-js";

const codeOfStatus: Readonly<Record<number, ErrorCode>> = {
  [status.INVALID_ARGUMENT]: "bad-input",
  [status.NOT_FOUND]: "not-found",
  [status.ALREADY_EXISTS]: "conflict",
  [status.FAILED_PRECONDITION]: "conflict",
  [status.RESOURCE_EXHAUSTED]: "over-limit",
  [status.PERMISSION_DENIED]: "refused",
  [status.UNAUTHENTICATED]: "refused",
  [status.UNAVAILABLE]: "unreachable",
  [status.DEADLINE_EXCEEDED]: "unreachable",
  [status.ABORTED]: "no-leader",
  [status.CANCELLED]: "unreachable",
};

interface ServiceFailure {
  readonly code: number;
  readonly details: string;
  readonly metadata?: Metadata;
}

function isServiceFailure(error: unknown): error is Error & ServiceFailure {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}

const textOf = (metadata: Metadata | undefined, key: string): string | undefined => {
  const value = metadata?.get(key)[0];
  return value === undefined ? undefined : String(value);
};

/** An abort of the caller keeps the caller's reason: it tells a stop from a failure. */
export function translate(error: unknown, address: string, signal?: AbortSignal): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (error instanceof EverycoreError || !isServiceFailure(error)) return error;
  const code = textOf(error.metadata, "ec-code");
  if (isErrorCode(code)) {
    const hint = textOf(error.metadata, "ec-hint") ?? "";
    return new EverycoreError(code, error.details, { hint, cause: error });
  }
  return fromTransport(error, address);
}

function fromTransport(error: Error & ServiceFailure, address: string): EverycoreError {
  const code = codeOfStatus[error.code] ?? "internal";
  if (code === "unreachable") {
    const late = error.code === status.DEADLINE_EXCEEDED;
    return new EverycoreError(
      code,
      `the coordinator at ${address} ${late ? "does not answer in time" : "cannot be reached"}`,
      {
        hint: "check the address, and that a coordinator runs there (everycore up, or everycore coordinator)",
        cause: error,
      },
    );
  }
  if (error.code === status.UNIMPLEMENTED) {
    return new EverycoreError("internal", `the coordinator at ${address} does not know this call`, {
      hint: "upgrade the coordinator first, then agents and clients",
      cause: error,
    });
  }
  if (error.code === status.UNAUTHENTICATED) {
    return new EverycoreError(code, `the coordinator at ${address} does not accept this secret`, {
      hint: "give the cluster's secret by --secret-file or EVERYCORE_SECRET_FILE",
      cause: error,
    });
  }
  return new EverycoreError(code, `the coordinator at ${address} said: ${error.details}`, { cause: error });
}
