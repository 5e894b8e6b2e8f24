import { InvalidArgumentError } from '../../errors.ts';
import { quote } from '../../quote.ts';
import type { Option } from '../command.ts';

const FORMATS = ['text', 'json'] as const;

/** Taken by the commands that run for long. */
export const LOG: Option = {
  type: 'string',
  value: 'FORMAT',
  choices: FORMATS,
  summary: 'text, or json: one object a line on stderr, with time and level (default: text)',
};

/** @throws InvalidArgumentError for a format that there is not */
export function isLog(given: string | true | undefined): boolean {
  if (given === undefined) return false;
  if (FORMATS.some((format) => format === given)) return given === 'json';
  throw new InvalidArgumentError(`--log knows no ${quote(String(given), 40)}.`, {
    hint: `It takes: ${FORMATS.join(', ')}`,
  });
}
