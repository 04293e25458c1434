/** Where the hosts written in TypeScript are, and how Node runs them: from source, or from the published build. */
import { fileURLToPath } from "node:url";
import { compileCache } from "./compile-cache.ts";
import type { StartCommand } from "./runtime.ts";

export function nodeHost(name: string, slotDir: string): StartCommand {
  // In a published package this very file is JavaScript, and so are the hosts: Node strips no types there.
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const path = fileURLToPath(new URL(`./host/${name}.${extension}`, import.meta.url));
  const cache = compileCache();
  return {
    file: process.execPath,
    args: ["--no-warnings", path, slotDir],
    env: { EVERYCORE_WORKER: "1", ...(cache === undefined ? {} : { NODE_COMPILE_CACHE: cache }) },
  };
}
