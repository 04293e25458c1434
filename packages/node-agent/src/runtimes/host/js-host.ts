/** Worker host of the runtime `js`. A second argument `--stop` stops an attached debugger in front of the task. */
import { JsRunner } from "./js-runner.ts";
import { serve } from "./serve.ts";

const stops = process.argv[3] === "--stop";
serve(process.argv[2] ?? "", { newRunner: () => new JsRunner({ stops }), rehearses: true });
