// Reads the counts out of the runners' reports.

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Vitest's JSON report. A file that fails to load has no tests but counts as one failure, and so does a run that
 * was not a success although no test failed (an unhandled error, a leaked handle).
 */
export function readVitestJson(content: string): Counts {
  const report = JSON.parse(content) as {
    numPassedTests: number;
    numFailedTests: number;
    numPendingTests: number;
    numTodoTests: number;
    success: boolean;
    testResults: { status: string; assertionResults: { status: string }[] }[];
  }; // vitest's own documented shape
  const brokenFiles = report.testResults.filter(
    (file) =>
      file.status === "failed" && !file.assertionResults.some((assertion) => assertion.status === "failed"),
  ).length;
  const failed = report.numFailedTests + brokenFiles;
  const ranSomething = report.testResults.length > 0;
  return {
    passed: report.numPassedTests,
    failed: failed === 0 && !report.success && ranSomething ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** The JUnit file of pytest: attributes of its one testsuite. */
export function readJunit(content: string): Counts {
  const suite = /<testsuite\b[^>]*>/.exec(content)?.[0] ?? "";
  const attribute = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = attribute("failures") + attribute("errors");
  const skipped = attribute("skipped");
  return { passed: attribute("tests") - failed - skipped, failed, skipped };
}
