import { isStrict } from './issuer.ts';
import { OLD_COMMIT } from './old-build.ts';
import type { Report, TortureOptions } from './run.ts';
import { isProtocol, PROTOCOLS } from './stand-ins/stand-ins.ts';

const MOST_TRACES = 20;
/** Of a design that is shown and not judged. */
const TRACES_SHOWN = 2;

export function show(options: TortureOptions, report: Report): string {
  const { protocol, mode, engine, seed } = options;
  const most = isProtocol(protocol) ? TRACES_SHOWN : MOST_TRACES;
  const what = isProtocol(protocol) ? `${protocol} (${PROTOCOLS[protocol].title})` : 'Holdfast';
  const lost = Object.values(report.unavoidable).reduce((sum, one) => sum + one, 0);
  const { p50, p99, most: longest, calls } = report.waits;
  const circumstances = [
    report.wrongClock ? 'one clock wrong, and set now and then' : 'no libfaketime: all clocks right',
    ...(options.mixed ? [`half of the workers run commit ${OLD_COMMIT}`] : []),
    report.otherBoots ? 'each worker as on a machine of its own' : 'all workers of one boot',
  ];
  return [
    `${what} on ${engine}, server ${mode}${isStrict(mode) ? ' (a replay ends the login)' : ''}, --seed ${seed}`,
    `  circumstances       ${circumstances.join('; ')}`,
    `  faults              ${list(report.faults)}`,
    `  token requests      ${list(report.requests)}`,
    `  presentations       ${report.presentations} of ${report.generations} tokens (${(report.presentations / Math.max(1, report.generations)).toFixed(3)} each)`,
    `  presented again     ${list(report.repeated)}`,
    `  operations          ${list(report.operations)}`,
    `  calls               ${report.calls}, ${report.served} served; ${list(report.failures)}`,
    `  while a token lived ${calls} calls, ${report.withheld} refused; p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(0)} ms, longest ${longest.toFixed(0)} ms`,
    `  given when lapsed   ${report.late.calls} calls whose network was held up; by ${report.late.mostMs.toFixed(0)} ms at most`,
    `  files and processes ${report.filesScanned} looked through for tokens`,
    `  left alive          ${list(report.leftAlive)} (after a logout that said “revoked”)`,
    `  unavoidable losses  ${lost}${lost > 0 ? `: ${list(report.unavoidable)}` : ''}`,
    ...(options.mixed
      ? [`  old build’s part    ${report.ofOldBuild} losses and other faults, not judged`]
      : []),
    `  avoidable losses    ${report.avoidable}`,
    `  other violations    ${Math.max(0, report.violations.length - report.avoidable)}`,
    ...report.violations.slice(0, most).map((one) => `  ! ${one}`),
    ...(report.violations.length > most ? [`  … and ${report.violations.length - most} more`] : []),
    ...(report.isStarved ? ['  ! starved: less than one presentation for two faults'] : []),
    `  took                ${report.seconds.toFixed(0)} s`,
    ...(report.directory === undefined ? [] : [`  logs in ${report.directory}`]),
    '',
  ].join('\n');
}

function list(counts: Readonly<Record<string, number>>): string {
  const entries = Object.entries(counts).filter(([, times]) => times > 0);
  return entries.length === 0 ? 'none' : entries.map(([what, times]) => `${what} ${times}`).join(', ');
}

/** Whether a run shows what it should. A starved one shows nothing. */
export function isGood({ violations, isStarved }: Report): boolean {
  return violations.length === 0 && !isStarved;
}
