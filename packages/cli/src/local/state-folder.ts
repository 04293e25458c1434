/** Folders that outlive a command: ours alone, one owner at a time, with the cluster's secret inside. */
import { randomBytes } from "node:crypto";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import { readSecretFile } from "@everycore/client/internal";
import type { Config } from "@everycore/client/internal";
import { EverycoreError } from "@everycore/protocol";

/** Where the roles keep their folders: the setting, or $XDG_STATE_HOME/everycore, by default below the home folder. */
export function stateHome(config: Config, environment: NodeJS.ProcessEnv = process.env): string {
  if (config.dataDir !== undefined) return config.dataDir.value;
  return join(
    environment["XDG_STATE_HOME"] || join(environment["HOME"] || homedir(), ".local", "state"),
    "everycore",
  );
}

/** Makes the folder, 0700; refuses one that belongs to another user. */
export async function makeStateFolder(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const { uid } = await stat(dir);
    if (uid !== userInfo().uid)
      throw new EverycoreError("refused", `the state folder ${dir} belongs to another user`, {
        hint: "choose one by --data",
      });
  } catch (error) {
    if (error instanceof EverycoreError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? "";
    throw new EverycoreError("bad-input", `the state folder ${dir} cannot be made (${code})`, {
      hint: "choose one by --data",
      cause: error,
    });
  }
}

/** The secret kept in `file`; made on the first call (0600). */
export async function keepSecret(file: string): Promise<string> {
  await writeFile(file, `${randomBytes(32).toString("hex")}\n`, { flag: "wx", mode: 0o600 }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    },
  );
  return readSecretFile(file);
}

export interface FolderOwner extends AsyncDisposable {
  /** The former owner did not end in order: what it started may still be ending. */
  readonly wasKilled: boolean;
}

/** Takes the folder for this process; a second owner would run a second cluster over the same files. */
export async function takeFolder(dir: string): Promise<FolderOwner> {
  const file = join(dir, "owner.pid");
  for (let wasKilled = false; ; wasKilled = true) {
    try {
      await writeFile(file, String(process.pid), { flag: "wx", mode: 0o600 });
      return { wasKilled, [Symbol.asyncDispose]: () => rm(file, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const pid = Number(await readFile(file, "utf8").catch(() => ""));
    if (await isEverycore(pid)) {
      throw new EverycoreError("conflict", `process ${pid} uses the state folder ${dir} already`, {
        hint: "end it first, or choose another folder by --data",
      });
    }
    await rm(file, { force: true });
  }
}

/** A pid may be another program's by now: only a Node process can be the owner. */
async function isEverycore(pid: number): Promise<boolean> {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "node");
  return /node|everycore/.test(command);
}
