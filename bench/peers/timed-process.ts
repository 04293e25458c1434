/** A contender as a process: how long from its start to its first result and to its last. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export interface Times {
  /** From nothing: the process's start until the first and the last result. */
  readonly firstSeconds?: number;
  readonly coldSeconds?: number;
  /** The same items once more, on what is up already. */
  readonly warmSeconds?: number;
}

export interface TimedProcess {
  readonly argv: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

/** One of drivers/: it says `first`, `cold` and `warm SECONDS`. */
export async function runDriver(how: TimedProcess): Promise<Times> {
  const times: { -readonly [Name in keyof Times]: number } = {};
  await timed(how, (line, seconds) => {
    const [word, value] = line.split(" ");
    if (word === "first") times.firstSeconds = seconds;
    if (word === "cold") times.coldSeconds = seconds;
    if (word === "warm") times.warmSeconds = Number(value);
  });
  return times;
}

/** A command that prints its results: from its start to the first line, and to its end. */
export async function runCommand(how: TimedProcess): Promise<Times & { coldSeconds: number }> {
  let firstSeconds: number | undefined;
  const coldSeconds = await timed(how, (_line, seconds) => (firstSeconds ??= seconds));
  return { coldSeconds, ...(firstSeconds === undefined ? {} : { firstSeconds }) };
}

async function timed(how: TimedProcess, onLine: (line: string, seconds: number) => void): Promise<number> {
  const { argv, environment, signal } = how;
  const startedAt = performance.now();
  const since = (): number => (performance.now() - startedAt) / 1_000;
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: ["ignore", "pipe", "pipe"],
    env: environment,
    signal,
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (data: string) => (errors = (errors + data).slice(-2_000)));
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => onLine(line, since()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${argv.slice(0, 3).join(" ")} ended with ${code}: ${errors}`);
  return since();
}
