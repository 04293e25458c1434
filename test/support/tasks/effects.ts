/** Items with an effect beside their value: a line for each start, so that whoever reads the files knows what ran. */
import { appendFileSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";

/** A folder that all nodes share. */
const folder = "/effects";
export const itemMs = 60;

export async function twice(n: number): Promise<number> {
  appendFileSync(`${folder}/${hostname()}`, `${Date.now()} ${n}\n`);
  await delay(itemMs);
  return 2 * n;
}
