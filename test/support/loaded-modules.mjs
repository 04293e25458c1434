// Preloaded by --import: writes the name of each package file that a process loads to LOADED_MODULES.
import { appendFileSync } from "node:fs";
import { registerHooks } from "node:module";

const file = process.env.LOADED_MODULES ?? "";
registerHooks({
  load(url, context, next) {
    const path = url.split("/node_modules/").at(-1);
    if (path !== url) appendFileSync(file, `${path}\n`);
    return next(url, context);
  },
});
