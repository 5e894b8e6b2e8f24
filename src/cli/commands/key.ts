import { resolve } from 'node:path';
import { InvalidArgumentError } from '../../errors.ts';
import { keyText, newSealingKey } from '../../keyring/key-text.ts';
import { quote } from '../../quote.ts';
import { checkCanCreate, createFile } from '../../system/files/created-file.ts';
import type { Invocation } from '../command.ts';
import { EXIT } from '../exit-code.ts';

export async function run(invocation: Invocation): Promise<number> {
  const { argument = '', ui } = invocation;
  if (argument !== 'new') {
    throw new InvalidArgumentError(`holdfast key knows no ${quote(argument, 40)}.`, {
      hint: 'To make a sealing key: holdfast key new --out FILE',
    });
  }
  const out = invocation.text('out');
  if (out !== undefined) {
    const path = resolve(out);
    await checkCanCreate(path);
    await createFile(path, `${keyText([newSealingKey()])}\n`);
    if (ui.json) ui.dataJson({ out: path });
    ui.note(`A new sealing key is in ${path}, which only you can read.`);
    return EXIT.done;
  }
  if (ui.isTerminal && !invocation.flag('reveal')) {
    throw new InvalidArgumentError('A sealing key opens every login, and this is a terminal that shows it.', {
      hint: 'Write it to a file: holdfast key new --out FILE. If it is to be seen: --reveal',
    });
  }
  const key = keyText([newSealingKey()]);
  if (ui.json) ui.dataJson({ key });
  else ui.dataLine(key);
  return EXIT.done;
}
