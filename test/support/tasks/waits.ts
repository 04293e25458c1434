/** Items that take their time and no core: for tests in which something happens meanwhile. */
import { setTimeout as delay } from "node:timers/promises";

export async function twice(n: number): Promise<number> {
  await delay(100);
  return 2 * n;
}
