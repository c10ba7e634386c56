-- testing_commands.lua: what the test kit knows of Redis' commands: enough to tell lookups from writes, to count arguments and
-- to find keys. (The engine asks Redis itself, see redis/commands.c.)
local commands = {}

-- name, r(ead) or w(rite), arity as Redis counts (n exactly, -n at least, the name included), first key, last key, step;
-- t: the answer is text, so numbers in a spec's answers become text, as Redis gives them.
local ROWS = [[
append w 3 1 1 1        bitcount r -2 1 1 1     bitpos r -3 1 1 1       copy w -3 1 2 1
dbsize r 1 0 0 0        decr w 2 1 1 1          decrby w 3 1 1 1        del w -2 1 -1 1
exists r -2 1 -1 1      expire w -3 1 1 1       expireat w -3 1 1 1     expiretime r 2 1 1 1
geoadd w -5 1 1 1       geodist r -4 1 1 1 t    geopos r -2 1 1 1 t     geosearch r -7 1 1 1 t
get r 2 1 1 1 t         getbit r 3 1 1 1        getdel w 2 1 1 1        getex w -2 1 1 1
getrange r 4 1 1 1 t    getset w 3 1 1 1        hdel w -3 1 1 1         hexists r 3 1 1 1
hget r 3 1 1 1 t        hgetall r 2 1 1 1 t     hincrby w 4 1 1 1       hincrbyfloat w 4 1 1 1
hkeys r 2 1 1 1 t       hlen r 2 1 1 1          hmget r -3 1 1 1 t      hmset w -4 1 1 1
hrandfield r -2 1 1 1 t hscan r -3 1 1 1 t      hset w -4 1 1 1         hsetnx w 4 1 1 1
hstrlen r 3 1 1 1       hvals r 2 1 1 1 t       incr w 2 1 1 1          incrby w 3 1 1 1
incrbyfloat w 3 1 1 1   lindex r 3 1 1 1 t      linsert w 5 1 1 1       llen r 2 1 1 1
lmove w 5 1 2 1         lpop w -2 1 1 1         lpos r -3 1 1 1         lpush w -3 1 1 1
lpushx w -3 1 1 1       lrange r 4 1 1 1 t      lrem w 4 1 1 1          lset w 4 1 1 1
ltrim w 4 1 1 1         mget r -2 1 -1 1 t      mset w -3 1 -1 2        msetnx w -3 1 -1 2
persist w 2 1 1 1       pexpire w -3 1 1 1      pexpireat w -3 1 1 1    pexpiretime r 2 1 1 1
pfadd w -2 1 1 1        pfcount r -2 1 -1 1     pfmerge w -2 1 -1 1     psetex w 4 1 1 1
pttl r 2 1 1 1          publish w 3 0 0 0       randomkey r 1 0 0 0 t   rename w 3 1 2 1
renamenx w 3 1 2 1      rpop w -2 1 1 1         rpoplpush w 3 1 2 1     rpush w -3 1 1 1
rpushx w -3 1 1 1       sadd w -3 1 1 1         scan r -2 0 0 0 t       scard r 2 1 1 1
sdiff r -2 1 -1 1 t     sdiffstore w -3 1 -1 1  set w -3 1 1 1          setbit w 4 1 1 1
setex w 4 1 1 1         setnx w 3 1 1 1         setrange w 4 1 1 1      sinter r -2 1 -1 1 t
sinterstore w -3 1 -1 1 sismember r 3 1 1 1     smembers r 2 1 1 1 t    smismember r -3 1 1 1
smove w 4 1 2 1         spop w -2 1 1 1         srandmember r -2 1 1 1 t srem w -3 1 1 1
sscan r -3 1 1 1 t      strlen r 2 1 1 1        sunion r -2 1 -1 1 t    sunionstore w -3 1 -1 1
touch r -2 1 -1 1       ttl r 2 1 1 1           type r 2 1 1 1 t        unlink w -2 1 -1 1
xadd w -5 1 1 1         xdel w -3 1 1 1         xlen r 2 1 1 1          xrange r -4 1 1 1 t
xrevrange r -4 1 1 1 t  xtrim w -4 1 1 1        zadd w -4 1 1 1         zcard r 2 1 1 1
zcount r 4 1 1 1        zincrby w 4 1 1 1       zlexcount r 4 1 1 1     zmscore r -3 1 1 1 t
zpopmax w -2 1 1 1      zpopmin w -2 1 1 1      zrandmember r -2 1 1 1 t zrange r -4 1 1 1 t
zrangebylex r -4 1 1 1 t zrangebyscore r -4 1 1 1 t zrangestore w -5 1 2 1 zrank r 3 1 1 1
zrem w -3 1 1 1         zremrangebylex w 4 1 1 1 zremrangebyrank w 4 1 1 1 zremrangebyscore w 4 1 1 1
zrevrange r -4 1 1 1 t  zrevrangebyscore r -4 1 1 1 t zrevrank r 3 1 1 1 zscan r -3 1 1 1 t
zscore r 3 1 1 1 t
]]

local REFUSED = "flushall flushdb swapdb migrate move keys xread xreadgroup xack xgroup xsetid"

commands.TABLE = {}
for name, kind, arity, first, last, step, is_text in ROWS:gmatch "(%l+) ([rw]) (%-?%d+) (%d+) (%-?%d+) (%d+)( ?t?)%f[%s]" do
  commands.TABLE[name:upper()] = {
    kind = kind == "r" and "read" or "write", arity = tonumber(arity), first = tonumber(first), last = tonumber(last),
    step = tonumber(step), is_text = is_text == " t",
  }
end
for name in REFUSED:gmatch "%l+" do commands.TABLE[name:upper()] = { kind = "refused" } end

local function keys_of(row, argv)
  local keys = {}
  if row.first == 0 then return keys end
  local last = row.last < 0 and #argv or row.last + 1
  for n = row.first + 1, last, row.step do keys[#keys + 1] = argv[n] end
  return keys
end

---May a rule send this? As the engine's check (design 3.3), over the table above.
---@param argv string[]  the command's name in capitals, and its arguments
---@param is_input fun(key: string): boolean  do rules read a stream of this name?
---@return "read"|"write"|nil kind, string[]|string keys_or_reason
function commands.check(argv, is_input)
  local name = argv[1]
  local row = commands.TABLE[name]
  if not row then return nil, ("unknown command %s (to the test kit)"):format(name) end
  if row.kind == "refused" then return nil, ("%s is refused: rules may not use it"):format(name) end
  local given, least = #argv - 1, math.abs(row.arity) - 1
  if (row.arity > 0 and given ~= least) or given < least then
    return nil, ("%s takes %s %d argument%s, but got %d"):format(name, row.arity < 0 and "at least" or "exactly", least,
      least == 1 and "" or "s", given)
  end
  local keys = keys_of(row, argv)
  for _, key in ipairs(keys) do
    if key:sub(1, 9) == "tidemill:" then
      return nil, ("%s is refused on the key '%s': keys that begin with 'tidemill:' are the engine's own; use ctx.state, "
        .. "or another key"):format(name, key)
    end
    if row.kind == "write" and name ~= "XADD" and is_input(key) then
      return nil, ("'%s' is a stream that rules read; only XADD may write to it"):format(key)
    end
  end
  return row.kind, keys
end

return commands
