import { diagnose, type Finding } from '../../vault/diagnose.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';

const MARKS = { ok: 'ok', warning: 'warn', failed: 'fail' } as const;

export async function run(invocation: Invocation): Promise<number> {
  const { ui, environment } = invocation;
  ui.progress('Checking');
  const { findings, tiers } = await diagnose(environment, { keyring: invocation.text('keyring') });
  if (ui.json) ui.dataJson({ findings, tiers });
  else for (const finding of findings) ui.data(lineOf(finding));
  return findings.some(({ status }) => status === 'failed') ? EXIT.failed : EXIT.done;
}

function lineOf({ check, status, message, hint }: Finding): string {
  const line = `${MARKS[status].padEnd(5)} ${check.padEnd(12)} ${message}`;
  return hint === undefined ? line : `${line}\n${' '.repeat(19)}${hint}`;
}
