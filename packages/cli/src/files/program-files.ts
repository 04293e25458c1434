/** The files of a program's job, as the flags of `run` and `job results` name them: those that go, those that return. */
import { normalize } from "node:path";
import type { Bundle, JobInfo } from "@everycore/client/internal";
import { EverycoreError, hasPlaceholder, isEnded, limits, patternFault, shortId } from "@everycore/protocol";
import type { TaskSpec } from "@everycore/protocol";
import { exitCodeOf, exitCodes } from "../failure.ts";
import { ReturnedFileWriter } from "./returned.ts";
import type { ShippedFiles } from "./shipped.ts";
import { shipFiles } from "./shipped.ts";

interface FileFlags {
  readonly files?: readonly string[];
  readonly output?: readonly string[];
  readonly outputDir?: string;
  readonly detach?: boolean;
}

export interface ProgramFiles {
  readonly bundle: Bundle | undefined;
  /** Names of what is shipped. */
  readonly names: ReadonlySet<string>;
  readonly task: Pick<TaskSpec, "bundle" | "returns">;
}

/** undefined when no file travels. */
export function programFiles(
  flags: FileFlags,
  argv: readonly string[],
  folder: string,
): ProgramFiles | undefined {
  const { files, output } = flags;
  if (files === undefined && output === undefined) return undefined;
  const shipped = files === undefined ? undefined : shipFiles(files, folder);
  checkProgram(argv[0] ?? "", shipped);
  return {
    bundle: shipped?.bundle,
    names: shipped?.names ?? new Set(),
    task: {
      ...(shipped === undefined ? {} : { bundle: shipped.bundle.digest }),
      ...(output === undefined ? {} : { returns: checkedPatterns(output) }),
    },
  };
}

function checkedPatterns(patterns: readonly string[]): readonly string[] {
  if (patterns.length > limits.returnPatternsMax)
    throw new EverycoreError(
      "over-limit",
      `--output names ${patterns.length} patterns, more than ${limits.returnPatternsMax} (returnPatternsMax)`,
      { hint: "quote the pattern, so that the shell does not replace it by the files that are here" },
    );
  for (const pattern of patterns) {
    const fault = patternFault(pattern);
    if (fault !== undefined)
      throw new EverycoreError("bad-input", `--output "${pattern}" ${fault}`, {
        hint: "it names files in the item's own folder, such as '*.png' or 'results/**'",
      });
  }
  return patterns;
}

/** An item's folder has nothing but what is shipped: whatever the nodes have, a path from there leads nowhere else. */
function checkProgram(program: string, shipped: ShippedFiles | undefined): void {
  if (!program.includes("/") || program.startsWith("/") || hasPlaceholder(program)) return;
  const name = normalize(program);
  if (shipped?.names.has(name) !== true)
    throw new EverycoreError(
      "bad-input",
      `the program ${program} is not shipped, and the items' folders have nothing else`,
      {
        hint: `add --files ${name}`,
      },
    );
  if (!shipped.executable.has(name))
    throw new EverycoreError("bad-input", `the program ${program} cannot be executed`, {
      hint: `chmod +x ${name}`,
    });
}

/** What writes the files of `run`; undefined where none return, or nobody waits for them. */
export function returnedFiles(flags: FileFlags): ReturnedFileWriter | undefined {
  const { output, outputDir, detach } = flags;
  if (output === undefined && outputDir !== undefined)
    throw new EverycoreError("bad-input", "--output-dir means something only with --output", {
      hint: "say which files come back: --output '*.png'",
    });
  if (detach === true && outputDir !== undefined)
    throw new EverycoreError("bad-input", "--output-dir is for who reads the results", {
      hint: "leave it away, and say later: everycore job results ID --output-dir DIR",
    });
  if (output === undefined || detach === true) return undefined;
  return new ReturnedFileWriter(outputDir ?? ".");
}

/** The same of `job results`. */
export function returnedFilesOf(info: JobInfo, flags: FileFlags): ReturnedFileWriter | undefined {
  if (flags.outputDir === undefined) return undefined;
  if (info.runtime !== "exec")
    throw new EverycoreError(
      "bad-input",
      `job ${shortId(info.id)} runs no program, and returns values instead of files`,
      { hint: "leave --output-dir away" },
    );
  return new ReturnedFileWriter(flags.outputDir);
}

/** Says what was written; a file that was refused is a failure. */
export function endOfReturned(
  returned: ReturnedFileWriter,
  info: JobInfo,
  flags: { readonly quiet?: boolean },
): number {
  const isToldOtherwise = info.state === "cancelled" || info.state === "failed";
  if (flags.quiet !== true && !isToldOtherwise) process.stderr.write(`${returned.summary}\n`);
  const code = isEnded(info.state) ? exitCodeOf(info) : exitCodes.good;
  return code === exitCodes.good && returned.refused > 0 ? exitCodes.itemsFailed : code;
}
