/** Runtime `exec`: any program; a host process per slot spawns it, so that the agent's thread is not the limit. */
import { release, type } from "node:os";
import { nodeHost } from "./hosts.ts";
import type { RuntimeSupport } from "./index.ts";

export const execRuntime: RuntimeSupport = {
  async discover() {
    return [{ name: "exec", version: `${type()} ${release()}`, path: "" }];
  },
  start: (slotDir) => nodeHost("exec-host", slotDir),
};
