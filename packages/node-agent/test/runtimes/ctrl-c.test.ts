// Ctrl-C at any moment of a process that runs one short script after the other: none of them ends the process.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";

/** Turns of 0.1 ms until stdin ends: Node takes and gives back the signal some thousand times a second. */
const program = (first: string): string => `
import { Script } from "node:vm";
import { setImmediate as turned } from "node:timers/promises";
import { holdCtrlC, runBreakable, taken } from ${JSON.stringify(
  new URL("../../src/runtimes/host/ctrl-c.ts", import.meta.url).href,
)};
let heard = 0;
let broken = 0;
let goesOn = true;
process.on("SIGINT", () => (heard += 1));
process.stdin.resume().on("end", () => (goesOn = false));
${first}
globalThis.turn = () => {
  taken();
  const end = performance.now() + 0.1;
  while (performance.now() < end);
};
const script = new Script("turn()");
process.stdout.write("ready");
while (goesOn) {
  for (let turn = 0; turn < 50; turn += 1) {
    try {
      runBreakable(script);
    } catch (error) {
      if (error.code !== "ERR_SCRIPT_EXECUTION_INTERRUPTED") throw error;
      broken += 1;
    }
  }
  await turned();
}
process.stdout.write(JSON.stringify({ heard, broken }));
process.exit(0);
`;

async function pressed(first: string, times: number) {
  const child = spawn(process.execPath, ["--input-type=module", "-e", program(first)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stdin.on("error", () => {}); // it may have been ended by the signal
  await once(child.stdout, "data");
  const closed = once(child, "close");
  for (let n = 0; n < times && child.signalCode === null; n += 1) {
    child.kill("SIGINT");
    await delay(3);
  }
  child.stdin.end();
  await closed;
  return { signal: child.signalCode, code: child.exitCode, said: out.replace("ready", "") };
}

test("none of 400 ends the process: a turn is broken off, or the listeners hear of it", async () => {
  const { signal, code, said } = await pressed("await holdCtrlC();", 400);
  expect({ signal, code }).toEqual({ signal: null, code: 0 });
  const { heard, broken } = JSON.parse(said) as { heard: number; broken: number };
  expect(broken).toBeGreaterThan(0);
  expect(heard).toBeGreaterThan(0);
});

test("without our hold of the signal one of them does: what this file is about", async () => {
  const { signal } = await pressed("", 4_000);
  expect(signal).toBe("SIGINT");
});
