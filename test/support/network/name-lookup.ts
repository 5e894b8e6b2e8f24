import { globalAgent } from 'node:https';
import { isIP } from 'node:net';
import { onTestFinished } from 'vitest';

/**
 * Makes names resolve to other addresses, for one test and for node:https in this process only.
 *
 * @param answer returns the addresses of a name
 * @returns the names that were looked up, in order
 */
export function namesLeadTo(
  answer: (name: string) => readonly (string | { address: string; family: number })[],
): readonly string[] {
  const names: string[] = [];
  const { lookup } = globalAgent.options;
  onTestFinished(() => void Object.assign(globalAgent.options, { lookup }));
  globalAgent.options.lookup = (name, wanted, callback) => {
    const found = answer(name).map((each) =>
      typeof each === 'string' ? { address: each, family: isIP(each) } : each,
    );
    names.push(name);
    if (wanted.all === true) callback(null, found);
    else callback(null, found[0]?.address ?? '', found[0]?.family);
  };
  return names;
}
