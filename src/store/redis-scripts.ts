import { createHash } from 'node:crypto';
import { MAX_RECORD_BYTES } from '../sealing.ts';

/*
 * What Redis does in one step, in its own language, on its own clock. One hash holds all of a credential, so that one node of
 * a cluster can do it:
 *
 *   r:<kid> record   v:<kid> version   t:<kid> when its tokens were obtained   w:<kid> when it was written
 *   epoch   the number of the last claim        open     the name of that claim, until it is released
 *   until   when its lease is over              claimed  when it was made
 *   after   when the claim before was made, if that was never released
 *   run     the run of the server that granted the lease, or that has renewed it at the first look since its start
 *   holder, note
 *
 * Times are milliseconds since the epoch. Replies are texts alone: clients differ in what they make of numbers. `claim` and
 * `write` know their own name when they are said twice: a client may send again what it saw no answer to.
 */

export interface Script {
  readonly text: string;
  /** What Redis knows it by: the SHA-1 of the text, as EVALSHA prescribes. */
  readonly sha: string;
}

const SHARED = `
local key = KEYS[1]
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function digits(number) return string.format('%.0f', number) end
local function put(kid, record, version, age)
  local at = now()
  redis.call('HSET', key, 'r:' .. kid, record, 'v:' .. kid, version, 't:' .. kid, digits(at - age), 'w:' .. kid, digits(at))
end
local function drop(kid) return redis.call('HDEL', key, 'r:' .. kid, 'v:' .. kid, 't:' .. kid, 'w:' .. kid) end
local function version(kid)
  local found = redis.call('HGET', key, 'v:' .. kid)
  return found and '=' .. found or '-'
end
local function release(epoch, note)
  if redis.call('HGET', key, 'epoch') ~= epoch then return end
  redis.call('HDEL', key, 'open')
  if note then redis.call('HSET', key, 'note', note) else redis.call('HDEL', key, 'note') end
end
`;

/** The server's run has another name after each start, and on a replica that was promoted. Empty where it is not told. */
const RUN = `
local function run()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end
`;

/** kid -> record, version, age; nothing; or `large`. */
export const READ = script(`
local found = redis.call('HMGET', key, 'r:' .. ARGV[1], 'v:' .. ARGV[1], 't:' .. ARGV[1])
if not found[1] then return false end
if #found[1] > ${MAX_RECORD_BYTES} then return {'large'} end
return {found[1], found[2] or '', digits(now() - (tonumber(found[3]) or 0))}`);

/** kid -> version, or nothing. */
export const VERSION = script(`return redis.call('HGET', key, 'v:' .. ARGV[1])`);

/** -> the names of the fields. */
export const FIELDS = script(`return redis.call('HKEYS', key)`);

/** kid, expected, record, version, age [, epoch [, note]] -> 1 or 0. */
export const WRITE = script(`
local there = version(ARGV[1])
if there == '=' .. ARGV[4] then return '1' end
if there ~= ARGV[2] then return '0' end
put(ARGV[1], ARGV[3], ARGV[4], ARGV[5])
if ARGV[6] then release(ARGV[6], ARGV[7]) end
return '1'`);

/** kid, expected or `*` -> 1 or 0. */
export const REMOVE = script(`
if ARGV[2] ~= '*' and version(ARGV[1]) ~= ARGV[2] then return '0' end
return drop(ARGV[1]) > 0 and '1' or '0'`);

/** kid, new kid, expected, record, version, age -> 1 or 0. */
export const MOVE = script(`
local there = version(ARGV[2])
if there == '=' .. ARGV[5] then return '1' end
if there ~= '-' or version(ARGV[1]) ~= ARGV[3] then return '0' end
drop(ARGV[1])
put(ARGV[2], ARGV[4], ARGV[5], ARGV[6])
return '1'`);

/**
 * holder, name, lease, patience [, kid, expected] -> `superseded`; `held`; or `claimed`, epoch, now, after, note.
 *
 * After a start of the server nobody may follow a silent holder before that one could come back. When it began to answer is
 * not to be known: reading a large log takes minutes, in which it refuses everybody. So the first look of its run at such a
 * lease lets it last once more.
 */
export const CLAIM = script(`${RUN}
if ARGV[5] and version(ARGV[5]) ~= ARGV[6] then return {'superseded'} end
local at, lease = now(), tonumber(ARGV[3])
local last = redis.call('HMGET', key, 'epoch', 'until', 'claimed', 'open', 'note', 'run', 'after')
if last[4] == ARGV[2] then return {'claimed', last[1], last[3], last[7] or '', last[5] or ''} end
local this, after = nil, ''
if last[4] then
  if at <= tonumber(last[2]) + tonumber(ARGV[4]) then return {'held'} end
  this = run()
  if last[6] ~= this then
    redis.call('HSET', key, 'until', digits(at + lease), 'run', this)
    return {'held'}
  end
  after = last[3]
end
local epoch = digits((last[1] or 0) + 1)
redis.call('HSET', key, 'epoch', epoch, 'until', digits(at + lease), 'claimed', digits(at), 'open', ARGV[2],
  'run', this or run(), 'after', after, 'holder', ARGV[1])
return {'claimed', epoch, digits(at), after, last[5] or ''}`);

/** epoch, lease -> 1 or 0. */
export const RENEW = script(`
local last = redis.call('HMGET', key, 'epoch', 'open')
if last[1] ~= ARGV[1] or not last[2] then return '0' end
redis.call('HSET', key, 'until', digits(now() + ARGV[2]))
return '1'`);

/** epoch [, note] -> nothing. */
export const RELEASE = script('release(ARGV[1], ARGV[2])');

/** -> 1 or 0. */
export const LEASED = script(`
local last = redis.call('HMGET', key, 'open', 'until')
return last[1] and now() <= tonumber(last[2]) and '1' or '0'`);

/** name, record -> nothing. */
export const ASIDE = script(`redis.call('HSET', key, ARGV[1], digits(now()) .. ' ' .. ARGV[2])`);

/** -> records, those written within an hour, whether a claim is open, how long its lease has been over in ms. */
export const SUMMARY = script(`
local at, records, recent = now(), 0, 0
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 2) == 'w:' then
    records = records + 1
    if at - redis.call('HGET', key, field) < 3600000 then recent = recent + 1 end
  end
end
local last = redis.call('HMGET', key, 'open', 'until')
return {digits(records), digits(recent), last[1] and '1' or '0', digits(last[1] and at - last[2] or 0)}`);

/** -> whether the run of the server can be told here. */
export const RUN_KNOWN = script(`${RUN}
return run() ~= '' and '1' or '0'`);

function script(steps: string): Script {
  const text = `${SHARED}${steps}`.trim();
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}
