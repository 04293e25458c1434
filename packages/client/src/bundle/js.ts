/**
 * JavaScript and TypeScript tasks: esbuild makes one ES module of the file and all it imports, on the client, once.
 * What can be known before a worker starts is said here: syntax errors, native modules, a misspelled export.
 */
import { basename, dirname, resolve } from "node:path";
import { EverycoreError } from "@everycore/protocol";
import type { BuildFailure, Message } from "esbuild";
import { nearest } from "../nearest.ts";
import { makeBundle } from "./archive.ts";
import type { Bundle } from "./archive.ts";

export const jsExtensions = [".ts", ".mts", ".js", ".mjs"] as const;
const entry = "task.mjs";

export interface JsBundle extends Bundle {
  /** Names that the module exports, `default` among them, sorted. */
  readonly exports: readonly string[];
}

/** Bundles the module at `path` for Node 24. */
export async function bundleJs(path: string): Promise<JsBundle> {
  const { build } = await import("esbuild"); // 30 ms that commands without a JavaScript task do not pay
  const file = resolve(path);
  const result = await build({
    entryPoints: [file],
    absWorkingDir: dirname(file),
    bundle: true,
    write: false,
    outfile: entry,
    format: "esm",
    platform: "node",
    target: "node24",
    sourcemap: true,
    metafile: true,
    logLevel: "silent",
    loader: { ".node": "copy" },
    // Dependencies in CommonJS call require(), which an ES module does not have.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
  }).catch((error: unknown) => {
    throw buildError(path, error);
  });
  const native = Object.keys(result.metafile.inputs).find((input) => input.endsWith(".node"));
  if (native !== undefined) {
    throw new EverycoreError(
      "bad-task",
      `${path} needs the native module ${basename(native)}, which cannot be sent to other nodes`,
      {
        hint: "use a package without native code, or run the program with everycore run",
      },
    );
  }
  const files = new Map<string, Uint8Array>();
  for (const output of result.outputFiles) files.set(basename(output.path), output.contents);
  const exports =
    Object.values(result.metafile.outputs).find((output) => output.entryPoint !== undefined)?.exports ?? [];
  return { ...makeBundle(files, entry), exports: exports.toSorted() };
}

/** The export to call: the one asked for, else the default export, else the only one. */
export function chooseExport(options: {
  path: string;
  exports: readonly string[];
  wanted: string | undefined;
}): string {
  const { path, exports, wanted } = options;
  if (wanted !== undefined) {
    if (exports.includes(wanted)) return wanted;
    const meant = nearest(wanted, exports);
    const hint = meant === undefined ? listOf(exports) : `did you mean ${meant}?`;
    throw new EverycoreError("bad-task", `${path} has no export ${wanted}`, { hint });
  }
  if (exports.includes("default")) return "default";
  if (exports.length === 1) return exports[0]!;
  if (exports.length === 0) {
    throw new EverycoreError("bad-task", `${path} exports nothing`, {
      hint: "export a function: export default (item) => ...",
    });
  }
  throw new EverycoreError("bad-task", `${path} has ${exports.length} exports and no default`, {
    hint: `name one: ${exports
      .slice(0, 10)
      .map((name) => `${path}:${name}`)
      .join(", ")}`,
  });
}

const listOf = (exports: readonly string[]): string =>
  exports.length === 0 ? "it exports nothing" : `it exports ${exports.slice(0, 20).join(", ")}`;

function buildError(path: string, error: unknown): unknown {
  const messages: readonly Message[] | undefined = isBuildFailure(error) ? error.errors : undefined;
  const first = messages?.[0];
  if (first === undefined) return error;
  const { location } = first;
  const where = location === null ? path : `${resolve(dirname(path), location.file)}:${location.line}`;
  const more = messages!.length > 1 ? ` (and ${messages!.length - 1} more)` : "";
  return new EverycoreError("bad-task", `${where}: ${first.text}${more}`, { cause: error });
}

const isBuildFailure = (error: unknown): error is BuildFailure =>
  error instanceof Error && "errors" in error && Array.isArray(error.errors);
