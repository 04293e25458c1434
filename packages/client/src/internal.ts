/** What the command, scripts and tests import of the client: no promise is made to others, see index.ts. */
export { makeBundle } from "./bundle/archive.ts";
export type { Bundle } from "./bundle/archive.ts";
export { bundleJs, chooseExport } from "./bundle/js.ts";
export { bundlePython, importsOf } from "./bundle/python.ts";
export { checkTaskFile, codeFields, loadTask, parseTaskName } from "./bundle/task.ts";
export type { TaskCode } from "./bundle/task.ts";
export type { CallOptions, ChannelOptions } from "./channel.ts";
export { Connection } from "./connection.ts";
export { loadConfig, settingNames, settings } from "./config.ts";
export type { Config, Origin, SettingName, Settings } from "./config.ts";
export {
  discover,
  findCluster,
  isAlive,
  readSecretFile,
  readUpFile,
  runtimeFolder,
  upFilePath,
} from "./discovery.ts";
export type { Found, UpFile } from "./discovery.ts";
export { refuseInWorker } from "./embedded.ts";
export type { EmbeddedModule } from "./embedded.ts";
export type { ItemInput } from "./item-input.ts";
export { differingText } from "./failures.ts";
export { auditShare, failureLimit } from "./job-options.ts";
export { nearest } from "./nearest.ts";
export { Outcome, decodeValue } from "./outcomes.ts";
export { Results } from "./results.ts";
export type { OutcomeList, ResultsOptions } from "./results.ts";
export { newSeed, seedOfDigits, seedOfInteger } from "./seed.ts";
export { newRequestId, Submission } from "./submission.ts";
export type { ItemSource, SubmitOptions } from "./submission.ts";
export * from "./wire-types.ts";
