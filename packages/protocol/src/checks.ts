/**
 * Small checks that turn `unknown` into typed fields. Each failure is one EverycoreError `bad-input` that names
 * the message and the field, so that a poisoned message is counted and explained, never a crash.
 */
import { EverycoreError } from "./errors.ts";

export type Fields = Readonly<Record<string, unknown>>;

export const bad = (what: string, field: string): EverycoreError =>
  new EverycoreError("bad-input", `${what}: field "${field}" is missing or malformed`);

export function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw new EverycoreError("bad-input", `${what}: not a map`);
  }
  return value as Fields;
}

/** A non-negative safe integer. */
export function count(fields: Fields, field: string, what: string): number {
  const value = fields[field];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw bad(what, field);
  return value;
}

export function number(fields: Fields, field: string, what: string): number {
  const value = fields[field];
  if (typeof value !== "number" || !Number.isFinite(value)) throw bad(what, field);
  return value;
}

export function text(fields: Fields, field: string, what: string, bytesMax = 65_536): string {
  const value = fields[field];
  if (typeof value !== "string" || value.length > bytesMax) throw bad(what, field);
  return value;
}

export function bytes(fields: Fields, field: string, what: string): Uint8Array {
  const value = fields[field];
  if (!(value instanceof Uint8Array)) throw bad(what, field);
  return value;
}

export function flag(fields: Fields, field: string, what: string): boolean {
  const value = fields[field];
  if (typeof value !== "boolean") throw bad(what, field);
  return value;
}

export function list(fields: Fields, field: string, what: string, lengthMax: number): readonly unknown[] {
  const value = fields[field];
  if (!Array.isArray(value) || value.length > lengthMax) throw bad(what, field);
  return value;
}

/** undefined when the field is absent or nil, else what `read` gives. */
export function optional<T>(
  fields: Fields,
  field: string,
  what: string,
  read: (fields: Fields, field: string, what: string) => T,
): T | undefined {
  const value = fields[field];
  return value === undefined || value === null ? undefined : read(fields, field, what);
}

/** One of the listed words. */
export function oneOf<const T extends string>(
  fields: Fields,
  field: string,
  what: string,
  words: readonly T[],
): T {
  const value = fields[field];
  if (typeof value !== "string" || !words.includes(value as T)) throw bad(what, field);
  return value as T;
}
