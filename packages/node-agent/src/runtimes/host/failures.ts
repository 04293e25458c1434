/** Thrown things, to ErrorInfo: whatever a task raises becomes one described error, cut to its limits. */
import type { ErrorInfo } from "@everycore/protocol/worker";
import { codecs, encode, limits } from "@everycore/protocol/worker";
import { Unencodable } from "./values.ts";

const hostFolder = new URL(".", import.meta.url).href;

export const errorCodec = codecs.error;

export function describe(thrown: unknown): ErrorInfo {
  if (thrown instanceof Unencodable) {
    return {
      kind: "encode",
      name: "Unencodable",
      message: cutTo(thrown.message, limits.errorMessageBytesMax),
    };
  }
  if (!(thrown instanceof Error)) {
    return {
      kind: "error",
      name: typeof thrown,
      message: cutTo(textOf(thrown), limits.errorMessageBytesMax),
    };
  }
  const cause = thrown.cause === undefined ? undefined : textOf(thrown.cause);
  return {
    kind: "error",
    name: thrown.name,
    message: cutTo(thrown.message, limits.errorMessageBytesMax),
    trace: cutTo(traceOf(thrown), limits.errorTraceBytesMax),
    ...(cause === undefined ? {} : { cause: cutTo(cause, limits.errorMessageBytesMax) }),
  };
}

/** The user's frames: how the host came to call the task says nothing to who wrote it. */
function traceOf({ stack = "" }: Error): string {
  const lines = stack.split("\n");
  const isOurs = (line: string): boolean => line.startsWith("    at ") && line.includes(hostFolder);
  const end = lines.findLastIndex((line) => !isOurs(line) && !/^ {4}at .*\(?node:/.test(line));
  return lines.slice(0, end + 1).join("\n");
}

export const describeBytes = (thrown: unknown): Buffer => encode(describe(thrown));

export const tooLarge = (bytes: number, limit: number, name: string): Buffer =>
  encode({
    kind: "output-too-large",
    name: "OutputTooLarge",
    message: `the value has ${bytes} bytes, more than ${name} = ${limit}; write it to a file and return its name`,
  });

function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

function cutTo(text: string, bytesMax: number): string {
  return text.length <= bytesMax ? text : `${text.slice(0, bytesMax - 1)}…`;
}
