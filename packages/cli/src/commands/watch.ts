/** `everycore job watch`: a job as it goes on, drawn anew in place on a terminal, else a line now and then. */
import type { JobInfo } from "@everycore/client/internal";
import { isEnded } from "@everycore/protocol";
import { Command } from "commander";
import { exitCodeOf } from "../failure.ts";
import { Interrupts } from "../interrupts.ts";
import type { ClusterFlags } from "../session.ts";
import { openSession, withClusterFlags } from "../session.ts";
import { Pace } from "../terminal/pace.ts";
import { countsOf, PlainLines } from "../terminal/progress.ts";
import { Screen } from "../terminal/screen.ts";
import { endText } from "../terminal/summary.ts";
import { watchLine, watchScreen } from "../terminal/watch-text.ts";

const redrawMs = 1_000;

export const watchCommand = (): Command =>
  withClusterFlags(new Command("watch"))
    .description("follow a job on the terminal until it has ended; its exit code tells how")
    .argument("<job>", "id of the job, or its first digits")
    .option("--plain", "a line now and then instead of a screen, as where the output is no terminal")
    .addHelpText("after", "\nExample:\n  everycore job watch 1a2b3c4d")
    .action(async (job: string, flags: ClusterFlags & { plain?: boolean }) => {
      using interrupts = new Interrupts("leave");
      await using session = await openSession(flags);
      const isPlain = flags.plain === true || !process.stdout.isTTY;
      using view = isPlain ? new LineView() : new ScreenView();
      for await (const info of session.cluster.watchJob(job, { signal: interrupts.signal })) {
        view.show(info);
        if (isEnded(info.state)) process.exitCode = exitCodeOf(info);
      }
    });

/** Ages between the cluster's messages too: a job that stands still is seen to do so. */
class View implements Disposable {
  protected readonly pace = new Pace();
  protected info: JobInfo | undefined;
  readonly #timer = setInterval(() => this.redraw(), redrawMs).unref();

  show(info: JobInfo): void {
    this.info = info;
    this.pace.add(performance.now(), countsOf(info).done);
    this.redraw();
  }

  protected redraw(): void {}

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

class ScreenView extends View {
  readonly #screen = new Screen(process.stdout);

  protected override redraw(): void {
    if (this.info === undefined) return;
    this.#screen.draw(watchScreen(this.info, this.pace, { now: Date.now(), at: performance.now() }));
  }
}

/** A line at the beginning, at each change of state, at each tenth, each half minute, and at the end. */
class LineView extends View {
  readonly #due = new PlainLines(performance.now());
  #said = "";

  protected override redraw(): void {
    const { info } = this;
    if (info === undefined) return;
    const now = performance.now();
    const state = `${info.state} ${info.reason}`;
    const isDue = this.#due.isDue(countsOf(info), now);
    if (state === this.#said && !isDue) return;
    this.#said = state;
    process.stdout.write(isEnded(info.state) ? `${endText(info)}\n` : watchLine(info, this.pace, now));
  }
}
