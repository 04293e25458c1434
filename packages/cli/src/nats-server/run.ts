// Runs another program to its end with a bounded time; the only place of the resolver that starts processes.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execFileAsync = promisify(execFile);
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024;

export interface RunOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly cwd?: string;
  readonly environment?: NodeJS.ProcessEnv;
}

/** Resolves to stdout; rejects with the command's last words, which say more than its exit code. */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  try {
    const { stdout } = await execFileAsync(command, args, {
      timeout: options.timeoutMs,
      maxBuffer: OUTPUT_BYTES_MAX,
      ...(options.signal && { signal: options.signal }),
      ...(options.cwd !== undefined && { cwd: options.cwd }),
      ...(options.environment && { env: options.environment }),
    });
    return stdout;
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new Error(describeFailure(command, error, options.timeoutMs), { cause: error });
  }
}

function describeFailure(command: string, error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return `${command}: ${String(error)}`;
  if ("killed" in error && error.killed === true)
    return `${command} did not end within ${timeoutMs / 1000} s`;
  if ("code" in error && error.code === "ENOENT") return `${command} is not installed`;
  const stderr = "stderr" in error && typeof error.stderr === "string" ? error.stderr.trim() : "";
  const lastLine = stderr.split("\n").at(-1);
  return `${command} failed: ${lastLine || error.message.split("\n")[0]}`;
}
