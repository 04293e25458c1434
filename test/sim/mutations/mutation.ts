/** What a broken rule is: a change of the code, and who should notice. */

export interface Edit {
  /** Relative to the repository. */
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutation {
  /** What is done wrong, as a sentence without its end. */
  readonly name: string;
  /** Section of the design, or number of the rule where the code has one. */
  readonly rule: string;
  readonly edits: readonly Edit[];
  /** Seeds of the simulator that should notice, first and last; undefined: it cannot, or hardly ever does. */
  readonly seeds?: readonly [number, number];
  /** The test file that should notice when the simulator does not. */
  readonly test?: string;
}
