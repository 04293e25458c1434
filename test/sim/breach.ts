/** A promise that was broken, by its name. */

export class Breach extends Error {
  override readonly name = "Breach";
}

export function must(holds: boolean, promise: string, what: () => string): void {
  if (!holds) throw new Breach(`${promise}: ${what()}`);
}
