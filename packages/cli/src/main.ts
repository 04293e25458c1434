/** The command: parses its arguments, runs the verb, and ends with the exit code of DESIGN 12. */
import { countBuffersAsHeap } from "./external-memory.ts";
import { describeFailure } from "./failure.ts";
import { program } from "./program.ts";

countBuffersAsHeap();
// The launcher set it for this very process; programs that jobs run must not inherit it.
delete process.env["NODE_COMPILE_CACHE"];
try {
  await program().parseAsync(process.argv);
} catch (error) {
  const { text, exitCode } = describeFailure(error);
  if (text !== "") process.stderr.write(text);
  process.exitCode = exitCode;
}
// A stdin that is still open (a live pipe, a terminal) would keep the process alive; stdout is waited for.
process.stdin.destroy();
