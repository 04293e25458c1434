/**
 * The addresses that `up` was given by the machine once, taken again by the next one over the same folder: commands
 * that follow a job when their `up` is killed find the next one by themselves (P3).
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isLoopback } from "../input/values.ts";
import { splitAddress } from "./addresses.ts";
import { untilFree } from "./free-port.ts";

export interface Listens {
  readonly listen: string;
  readonly httpListen: string;
}

const fileOf = (dir: string): string => join(dir, "addresses.json");

/**
 * What was used last; any port, where nothing is known or another program has the port by now, and has it still after
 * `withinMs`.
 */
export async function keptAddresses(dir: string, withinMs = 0): Promise<Listens> {
  const text = await readFile(fileOf(dir), "utf8").catch(() => "{}");
  const { listen, httpListen } = parsed(text);
  return { listen: await usable(listen, withinMs), httpListen: await usable(httpListen, withinMs) };
}

/** The parts of a cluster whose command was killed end by themselves, a moment after it. */
const formerEndsMs = 5_000;

/** So long may a port be taken by a part of the folder's former owner; 0 where that one ended in order. */
export const waitForFormer = (owner: { readonly wasKilled: boolean }): number =>
  owner.wasKilled ? formerEndsMs : 0;

/** Waits for addresses that were asked for. Who still finds one taken afterwards says so. */
export async function untilAddressesFree(
  addresses: readonly (string | undefined)[],
  withinMs: number,
): Promise<void> {
  await Promise.all(
    addresses.map(async (address) => {
      if (address === undefined || withinMs === 0) return;
      const [host, port] = splitAddress(address);
      if (port !== 0) await untilFree(bare(host), port, withinMs);
    }),
  );
}

const bare = (host: string): string => host.replaceAll(/[[\]]/g, "");

/** Written whole or not at all: a file cut short would only mean other ports, but nobody would see why. */
export async function keepAddresses(dir: string, listens: Listens): Promise<void> {
  const part = `${fileOf(dir)}.${process.pid}`;
  await writeFile(part, `${JSON.stringify(listens)}\n`, { mode: 0o600 });
  await rename(part, fileOf(dir));
}

function parsed(text: string): Partial<Record<keyof Listens, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** P8. Only loopback is taken again unasked: beyond it one listens because a flag says so. */
async function usable(address: unknown, withinMs: number): Promise<string> {
  const anyPort = "127.0.0.1:0";
  if (typeof address !== "string" || !isLoopback(address)) return anyPort;
  const [host, port] = splitAddress(address);
  return (await untilFree(bare(host), port, withinMs)) ? address : anyPort;
}
