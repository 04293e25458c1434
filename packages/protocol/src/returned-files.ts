/**
 * Files that a program of a job with `returns` leaves in its item's folder: they stand in the value, msgpack
 * {stdout, files, executable}, or beside the other fields of its error.
 */
import type { Fields } from "./checks.ts";
import { bytes, fieldsOf } from "./checks.ts";
import { decode } from "./wire.ts";

export interface ReturnedFiles {
  /** By relative path, as the node says: ask `isFileName` before one is written. */
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** Those that can be executed. */
  readonly executable: readonly string[];
}

/** undefined when the fields are of a program that returns none. */
export function returnedFilesOf(fields: Fields): ReturnedFiles | undefined {
  const { files: given, executable } = fields;
  if (typeof given !== "object" || given === null) return undefined;
  const files = Object.entries(given).filter(
    (file): file is [string, Uint8Array] => file[1] instanceof Uint8Array,
  );
  const names: unknown[] = Array.isArray(executable) ? executable : [];
  return {
    files: Object.fromEntries(files),
    executable: names.filter((name): name is string => typeof name === "string"),
  };
}

/** The value of a program that returns files: what it printed, and they. */
export function decodeProgramValue(payload: Uint8Array): ReturnedFiles & { readonly stdout: Uint8Array } {
  const what = "value of a program";
  const fields = fieldsOf(decode(payload), what);
  const returned = returnedFilesOf(fields) ?? { files: {}, executable: [] };
  return { stdout: bytes(fields, "stdout", what), ...returned };
}
