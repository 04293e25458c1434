/** Runtime `js`: an exported function of an ES module, TypeScript too (bundled at submit). */
import { nodeHost } from "./hosts.ts";
import type { RuntimeSupport } from "./runtime.ts";

export const jsRuntime: RuntimeSupport = {
  async discover() {
    return [{ name: "js", version: process.versions.node, path: process.execPath }];
  },
  start: (slotDir) => nodeHost("js-host", slotDir),
};
