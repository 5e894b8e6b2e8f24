/**
 * Works in the docker-agent directory of the first argument. `keep PREFIX COUNT` stores that number of logins, one
 * after another. `refresh RESOURCE STEP COUNT` stores new tokens of a login and dies when it reaches that step for the
 * COUNTth time.
 */
import { subscribe } from 'node:diagnostics_channel';
import { CredentialId } from '../../../src/credential.ts';
import { processEnvironment } from '../../../src/system/environment.ts';
import { sampleCredential } from '../homes/credential.ts';
import { dockerAgentParts } from '../homes/docker-agent.ts';

const [directory = '', command, subject = '', ...rest] = process.argv.slice(2);
const { credentialStore, keys } = dockerAgentParts(directory, processEnvironment());
if (command === 'keep') await keep(subject, Number(rest[0]));
else if (command === 'refresh') await refresh(subject, rest[0] ?? '', Number(rest[1]));
else throw new Error('usage: docker-agent-process DIR keep PREFIX COUNT | refresh RESOURCE STEP COUNT');

async function keep(prefix: string, count: number): Promise<void> {
  const key = await keys.strongest();
  for (let index = 0; index < count; index += 1) {
    const resource = `${prefix}${index}`;
    await credentialStore.save(key, CredentialId.of(resource, undefined), (generation) =>
      sampleCredential(resource, { generation }),
    );
  }
}

async function refresh(resource: string, step: string, count: number): Promise<void> {
  const found = await credentialStore.find(CredentialId.of(resource, undefined));
  if (found === undefined) throw new Error('There is no such login.');
  const { credential } = found.held;
  let passed = 0;
  subscribe('holdfast:step', (message) => {
    if (JSON.stringify(message) !== JSON.stringify({ step })) return;
    passed += 1;
    if (passed === count) process.kill(process.pid, 'SIGKILL');
  });
  const { tokens } = sampleCredential(`${resource}, the next`);
  await credentialStore.replace(found.held, { ...credential, generation: credential.generation + 1, tokens });
}
