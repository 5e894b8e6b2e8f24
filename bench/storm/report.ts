import type { Options } from './options.ts';
import type { PeerResult } from './peers.ts';
import type { Result } from './storm.ts';

export function heading({ processes, rounds, freshProcesses }: Options): string {
  const callers = freshProcesses ? 'fresh `holdfast token` processes' : 'long-lived processes';
  return [
    `Node ${process.version}, ${processes} ${callers}, ${rounds} rounds, each from an expired access token.`,
    'Token requests and revocations as the authorization server counted them; a token is valid when the MCP server',
    'took it. "Last": when the last process had its token, to one refresh that nobody contended for (medians).',
    '',
  ].join('\n');
}

export function line(title: string, result: Result): string {
  const { rounds, processes, callers, tokenRequests, validTokens, revocations, roundsOff } = result;
  const wanted = rounds * processes * callers;
  const who = callers === 1 ? `${processes} processes` : `${callers} callers`;
  const verdict = roundsOff === 0 ? 'ok  ' : 'FAIL';
  const ratio = (result.lastMs / result.soloMs).toFixed(2);
  return [
    `${verdict} ${title.padEnd(26)} ${rounds} rounds × ${who}: ${tokenRequests} token requests, ${validTokens} of ${wanted} tokens valid, ${revocations} revocations`,
    `     ${''.padEnd(26)} last ${ratio} × one refresh (${result.lastMs.toFixed(1)} ms to ${result.soloMs.toFixed(1)} ms)`,
    ...result.failures.map((failure) => `     ${failure}`),
  ].join('\n');
}

export function peerLine(result: PeerResult): string {
  const { name, rounds, processes, tokenRequests, validTokens, revocations, roundsLost, failures } = result;
  return [
    `     ${name.padEnd(36)} ${rounds} rounds × ${processes} processes: ${tokenRequests} token requests, ${validTokens} of ${rounds * processes} tokens valid, ${revocations} revocations, login lost in ${roundsLost} of ${rounds}`,
    ...failures.map((failure) => `       ${failure}`),
  ].join('\n');
}
