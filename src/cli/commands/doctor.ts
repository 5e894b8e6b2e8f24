import { diagnose } from '../../doctor/doctor.ts';
import type { Finding } from '../../doctor/finding.ts';
import { defined } from '../../values/defined.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { chosenStorage } from '../open-vault.ts';
import type { Ui } from '../output/ui.ts';
import { plural, wrap } from '../output/words.ts';

const MARKS = { ok: ['ok', 'green'], warning: ['warn', 'yellow'], failed: ['fail', 'red'] } as const;
const MARK_WIDTH = 6;
const CHECK_WIDTH = 13;

export async function run(invocation: Invocation): Promise<number> {
  const { ui, environment } = invocation;
  ui.progress('Checking');
  const { findings, tiers } = await diagnose(
    environment,
    defined({ keyring: invocation.text('keyring'), ...chosenStorage(invocation) }),
  );
  if (ui.json) ui.dataJson({ findings, tiers });
  else for (const finding of findings) ui.data(shown(finding, ui));
  const count = (wanted: Finding['status']) => findings.filter(({ status }) => status === wanted).length;
  const [failures, warnings] = [count('failed'), count('warning')];
  ui.note(
    failures + warnings === 0
      ? 'All is well.'
      : `${plural(failures, 'check', 'checks')} failed, ${plural(warnings, 'warning', 'warnings')}.`,
  );
  return failures > 0 ? EXIT.failed : EXIT.done;
}

function shown({ check, status, message, hint }: Finding, ui: Ui): string {
  const [mark, colour] = MARKS[status];
  const indent = MARK_WIDTH + CHECK_WIDTH;
  const head = `${ui.style(colour, mark, 'stdout')}${' '.repeat(MARK_WIDTH - mark.length)}${check.padEnd(CHECK_WIDTH)}`;
  const line = `${head}${wrap(message, ui.columns, indent)}`;
  if (hint === undefined) return line;
  // Not wrapped: the hint usually holds a command to copy.
  return `${line}\n${' '.repeat(indent)}→ ${hint}`;
}
