/** Lines on a terminal that are drawn anew in place: what stood there before is taken back first. */

export class Screen {
  readonly #stream: NodeJS.WriteStream;
  #lines = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  /** As much of the text as the terminal can hold. */
  draw(text: string): void {
    const columns = this.#stream.columns || 80; // a terminal that does not know its size says 0
    const rows = this.#stream.rows || 24;
    const lines = text.trimEnd().split("\n");
    const shown = lines.slice(0, Math.max(1, rows - 1)).map((line) => line.slice(0, columns));
    const back = this.#lines === 0 ? "" : `\u001B[${this.#lines}A\r\u001B[J`;
    this.#lines = shown.length;
    this.#stream.write(`${back}${shown.join("\n")}\n`);
  }
}
