/**
 * The cluster of a program's own, on this machine. It is part of the package `everycore`, which is newer Node's and
 * heavier than this one, and which some programs never need: so it is looked for only when it is wanted
 * (docs/decisions/0021).
 */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { EverycoreError } from "@everycore/protocol";

export interface EmbeddedProcess {
  readonly address: string;
  readonly secret: string;
  /** Ends it and waits until it has ended. May be called twice. */
  stop(): Promise<void>;
}

/** What `everycore/embedded` exports: the contract between the two packages. */
export interface EmbeddedModule {
  startEmbedded(options: {
    readonly slots: number | undefined;
    readonly quiet: boolean;
    readonly signal: AbortSignal;
  }): Promise<EmbeddedProcess>;
}

const moduleName = "everycore/embedded";

/** A task that starts a cluster of its own would start one per worker. */
export function refuseInWorker(environment: NodeJS.ProcessEnv = process.env): void {
  if (environment["EVERYCORE_WORKER"] === undefined) return;
  throw new EverycoreError("unreachable", "inside a task no cluster is started, and none is configured", {
    hint: "set EVERYCORE_ADDRESS and EVERYCORE_SECRET_FILE for the tasks, or run the program outside",
  });
}

export async function startEmbedded(
  options: Parameters<EmbeddedModule["startEmbedded"]>[0],
): Promise<EmbeddedProcess> {
  refuseInWorker();
  const file = findModule();
  if (file === undefined) {
    throw new EverycoreError(
      "unreachable",
      "no cluster is configured and none runs here, and the package everycore, which could start one, is not installed",
      {
        hint: "npm install everycore, or name a cluster by connect({ address, secretFile }) or EVERYCORE_ADDRESS",
      },
    );
  }
  // Not typed by its own package: it depends on this one, and the types of both would need each other.
  const module = (await import(pathToFileURL(file).href)) as EmbeddedModule;
  return module.startEmbedded(options);
}

/** Beside this package, or else where the program was started: a package manager may keep the two apart. */
function findModule(): string | undefined {
  for (const from of [import.meta.filename, join(process.cwd(), "main.js")]) {
    try {
      return createRequire(from).resolve(moduleName);
    } catch {
      // not there
    }
  }
  return undefined;
}
