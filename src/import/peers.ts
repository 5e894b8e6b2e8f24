import { InvalidArgumentError } from '../errors.ts';
import { quote } from '../quote.ts';
import { CLAUDE_CODE } from './claude-code.ts';
import { CLINE } from './cline.ts';
import { CODEX } from './codex.ts';
import { DOCKER_AGENT } from './docker-agent.ts';
import { GEMINI } from './gemini.ts';
import { GOOSE } from './goose.ts';
import { INSPECTOR } from './inspector.ts';
import { MCP_REMOTE } from './mcp-remote.ts';
import { MCPORTER } from './mcporter.ts';
import { OPENCODE } from './opencode.ts';
import type { Peer } from './peer.ts';

/** The programs whose logins can be imported. docs/interop.md says from which versions. */
export const PEERS: readonly Peer[] = [
  MCP_REMOTE,
  CLAUDE_CODE,
  CODEX,
  GEMINI,
  OPENCODE,
  GOOSE,
  CLINE,
  MCPORTER,
  INSPECTOR,
  DOCKER_AGENT,
];

/** @throws InvalidArgumentError */
export function peerNamed(id: string): Peer {
  const peer = PEERS.find((one) => one.id === id);
  if (peer !== undefined) return peer;
  throw new InvalidArgumentError(`${quote(id, 40)} is no program whose logins Holdfast can import.`, {
    hint: `Choose one of: ${PEERS.map((one) => one.id).join(', ')}; or - for what holdfast export printed`,
  });
}
