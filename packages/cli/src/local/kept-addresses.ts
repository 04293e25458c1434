/**
 * The addresses that `up` was given by the machine once, taken again by the next one over the same folder: commands
 * that follow a job when their `up` is killed find the next one by themselves (P3).
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isLoopback } from "../input/values.ts";
import { splitAddress } from "./addresses.ts";
import { isFree } from "./free-port.ts";

export interface Listens {
  readonly listen: string;
  readonly httpListen: string;
}

const fileOf = (dir: string): string => join(dir, "addresses.json");

/** What was used last; any port, where nothing is known or another program has the port by now. */
export async function keptAddresses(dir: string): Promise<Listens> {
  const text = await readFile(fileOf(dir), "utf8").catch(() => "{}");
  const { listen, httpListen } = parsed(text);
  return { listen: await usable(listen), httpListen: await usable(httpListen) };
}

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
async function usable(address: unknown): Promise<string> {
  const anyPort = "127.0.0.1:0";
  if (typeof address !== "string" || !isLoopback(address)) return anyPort;
  const [host, port] = splitAddress(address);
  return (await isFree(host.replaceAll(/[[\]]/g, ""), port)) ? address : anyPort;
}
