/**
 * Where a command finds its cluster: a flag, EVERYCORE_ADDRESS, the configuration, a running `up`, or none, which
 * means a cluster of this command's own. `up` says where it is in up.json, 0600: who can read it can run code as
 * its user (P8).
 */
import { readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { EverycoreError } from "@everycore/protocol";
import type { Config } from "./config.ts";

/** A coordinator of `up` that died listens again within this time. */
const upRestartMs = 3_000;

export interface UpFile {
  readonly pid: number;
  readonly address: string;
  readonly secret: string;
  readonly http: string;
  /** ms since epoch. */
  readonly startedAt: number;
}

export type Found =
  | {
      readonly kind: "configured";
      readonly address: string;
      readonly secret: string;
      readonly origin: string;
    }
  | { readonly kind: "up"; readonly address: string; readonly secret: string; readonly up: UpFile }
  | { readonly kind: "none" };

/** The folder of things that live as long as a login. */
export function runtimeFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const runtime = environment["XDG_RUNTIME_DIR"];
  return runtime
    ? join(runtime, "everycore")
    : join(environment["TMPDIR"] || tmpdir(), `everycore-${userInfo().uid}`);
}

export const upFilePath = (environment: NodeJS.ProcessEnv = process.env): string =>
  join(runtimeFolder(environment), "up.json");

/** The running `up`, or undefined; a file whose process is gone is stale. */
export function readUpFile(environment: NodeJS.ProcessEnv = process.env): UpFile | undefined {
  const file = upFilePath(environment);
  try {
    const { uid, mode } = statSync(file);
    // In a shared temporary folder another user may have put it there: we would send our code to them.
    if (uid !== userInfo().uid || (mode & 0o077) !== 0) return undefined;
    const up = JSON.parse(readFileSync(file, "utf8")) as UpFile;
    const isWhole =
      typeof up.address === "string" && typeof up.secret === "string" && typeof up.pid === "number";
    return isWhole && isAlive(up.pid) ? up : undefined;
  } catch {
    return undefined; // no file, or one that is being written: no `up` to use
  }
}

/** `config` is what loadConfig gave, flags included. Whether a cluster answers is for the first call to tell. */
export function discover(config: Config, environment: NodeJS.ProcessEnv = process.env): Found {
  const { address } = config;
  const up = readUpFile(environment);
  if (address === undefined) {
    return up === undefined ? { kind: "none" } : { kind: "up", address: up.address, secret: up.secret, up };
  }
  if (up?.address === address.value && config.secret === undefined && config.secretFile === undefined) {
    return { kind: "up", address: up.address, secret: up.secret, up };
  }
  return {
    kind: "configured",
    address: checkedAddress(address.value),
    secret: secretOf(config, address.value),
    origin: address.origin,
  };
}

/** `discover`, and an `up` that does not answer for a while (its pid may be another program's by now) is none. */
export async function findCluster(config: Config, signal?: AbortSignal): Promise<Found> {
  const found = discover(config);
  if (found.kind !== "up") return found;
  const deadline = performance.now() + upRestartMs;
  for (;;) {
    if (await isListening(found.address)) return found;
    signal?.throwIfAborted();
    if (performance.now() > deadline || readUpFile() === undefined) return { kind: "none" };
    await delay(100); // it may be starting its coordinator again
  }
}

async function isListening(address: string): Promise<boolean> {
  const at = address.lastIndexOf(":");
  const socket = connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)), timeout: 1_000 });
  const answer = Promise.withResolvers<boolean>();
  socket.once("connect", () => answer.resolve(true));
  socket.once("error", () => answer.resolve(false));
  socket.once("timeout", () => answer.resolve(false));
  const isThere = await answer.promise;
  socket.destroy();
  return isThere;
}

/** The secret that the configuration names. A flag of a file goes before a variable with the secret itself. */
export function secretOf(config: Config, address: string): string {
  const { secret, secretFile } = config;
  if (secret !== undefined && secretFile?.origin !== "flag") return secret.value;
  if (secretFile !== undefined) return readSecretFile(secretFile.value);
  throw new EverycoreError("refused", `there is no secret for the cluster at ${address}`, {
    hint: "give --secret-file FILE, EVERYCORE_SECRET_FILE or EVERYCORE_SECRET",
  });
}

/**
 * Reads a secret that only its owner can read (P8). One of root may also be readable by a group: so Kubernetes and
 * service managers hand a file to a process of another user, and root chose that group.
 */
export function readSecretFile(file: string): string {
  let text: string;
  try {
    const { mode, uid } = statSync(file);
    const isOfRoot = uid === 0 && userInfo().uid !== 0;
    if ((mode & (isOfRoot ? 0o037 : 0o077)) !== 0) {
      throw new EverycoreError("refused", `the secret file ${file} can be read by others`, {
        hint: `chmod 600 ${file}`,
      });
    }
    text = readFileSync(file, "utf8").trim();
  } catch (error) {
    if (error instanceof EverycoreError) throw error;
    const why = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    throw new EverycoreError("bad-input", `the secret file ${file} cannot be read${why}`, { cause: error });
  }
  if (text.length < 16)
    throw new EverycoreError("bad-input", `the secret file ${file} holds no secret (16 characters or more)`);
  return text;
}

/** One, or several with commas between them. */
function checkedAddress(text: string): string {
  const addresses = text.split(",").map((address) => address.trim());
  for (const address of addresses) {
    const port = Number(/^(?:\[[0-9a-fA-F:]+\]|[^\s:/]+):(\d{1,5})$/.exec(address)?.[1]);
    if (port >= 1 && port <= 65_535) continue;
    throw new EverycoreError("bad-input", `"${address}" is not an address`, {
      hint: "write HOST:PORT, such as 127.0.0.1:7070; of several coordinators HOST:PORT,HOST:PORT",
    });
  }
  return addresses.join(",");
}

/** Somebody's process has this number, ours or another user's. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
