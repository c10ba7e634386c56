local process = require "spec.support.process"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local CTL, DLQ, INBOX = "tidemill:tidemill:ctl", "tidemill:tidemill:dlq", "tidemill:tidemill:inbox"
-- A raw entry as a letter keeps it: a msgpack array of strings.
local function raw(...)
  local list = { ... }
  local out = { string.char(0x90 + #list) }
  for _, text in ipairs(list) do
    out[#out + 1] = "\xd9" .. string.char(#text) .. text
  end
  return table.concat(out)
end
local EVENT = raw("data", "\x82\xa4user\xa2u1\xa5total\xcb\x40\x29\0\0\0\0\0\0")

describe("tidemill dlq", function()
  local server

  setup(function()
    server = redis.start()
  end)
  teardown(function()
    server:stop()
  end)
  before_each(function()
    server:call("FLUSHALL")
    server:call("HSET", CTL, "fence", "1:a", "commits", 7, "edits", 0)
  end)

  local function dlq(...)
    local code, out, err = program.run({ "dlq", ... }, { env = { REDIS_URL = server:url() } })
    return out, code, err
  end

  local function add(id, changes, key)
    local fields = { event = EVENT, stream = "cart", id = "5-1", rule = "cart", version = "2",
      reason = "error", message = "cart.lua:12: oops\nmore",
      traceback = "rules/cart.lua:12: in on_event\nrules/cart.lua:3: in help",
      at = 1700000000123, attempts = 1, key = "u1", payload = "" }
    for name, value in pairs(changes or {}) do
      fields[name] = value
    end
    local words = { "XADD", key or DLQ, id }
    for name, value in pairs(fields) do
      words[#words + 1] = name
      words[#words + 1] = value
    end
    server:call(unpack(words))
    return fields
  end

  local function edits(key)
    return tonumber(server:call("HGET", key or CTL, "edits"))
  end

  local function ids(...)
    local found = {}
    for id in (dlq("list", "--json", ...)):gmatch('{"letter":"(.-)"') do
      found[#found + 1] = id
    end
    return found
  end

  it("lists a table, the newest first", function()
    add("10-1")
    add("11-1", { rule = "pricing", reason = "schema", attempts = 12,
      message = "total: \27[2Jbad" })
    local out, code, err = dlq "list"
    assert.same({ 0, "" }, { code, err })
    assert.equal([[
ID    WHEN                      RULE     REASON  STREAM  ENTRY  TRIES  STATUS  MESSAGE
11-1  2023-11-14T22:13:20.123Z  pricing  schema  cart    5-1    12     dead    total: \x1b[2Jbad
10-1  2023-11-14T22:13:20.123Z  cart     error   cart    5-1    1      dead    cart.lua:12: oops
]], out)
  end)

  it("lists by rule and reason, and at most --count", function()
    add("10-1", { rule = "a", reason = "error" })
    add("11-1", { rule = "b", reason = "error" })
    add("12-1", { rule = "", reason = "decode" })
    add("13-1", { rule = "a", reason = "schema" })
    assert.same({ "13-1", "12-1", "11-1", "10-1" }, ids())
    assert.same({ "13-1", "10-1" }, ids("--rule", "a"))
    assert.same({ "11-1", "10-1" }, ids("--reason", "error"))
    assert.same({ "10-1" }, ids("--rule", "a", "--reason", "error"))
    assert.same({ "12-1" }, ids("--rule", ""))
    assert.same({ "13-1", "12-1" }, ids("--count", "2"))
    for i = 1, 260 do
      add("20-" .. i)
    end
    assert.equal(100, #ids())
    assert.equal(264, #ids("--count", "0"))
    local _, code, err = dlq("list", "--reason", "eror")
    assert.equal(2, code)
    assert.matches("--reason must be decode, schema,", err, 1, true)
  end)

  it("lists nothing, and fails where nothing was deployed", function()
    assert.same({ "", 0, "" }, { dlq "list" })
    local out, code, err = dlq("list", "--group", "other")
    assert.same({ "", 1 }, { out, code })
    assert.matches("nothing was ever run as group other on this Redis", err)
  end)

  it("prints JSON with the event decoded", function()
    add("10-1", { payload = "\x81\xa1w\x02", key = "" })
    local out = dlq("list", "--json")
    for _, part in ipairs { '"letter":"10-1"', '"partition":null', '"retrying":false', '"id":"5-1"',
      '"at":1700000000123',
      '"attempts":1', '"event":{"user":"u1","total":12.5}', '"payload":{"w":2}',
      '"version":"2"' } do
      assert.is_truthy(out:find(part, 1, true), part .. " in " .. out)
    end
    assert.equal(out, (dlq("show", "10-1", "--json")))
  end)

  it("shows one letter whole", function()
    add("10-1")
    local out, code = dlq("show", "10-1")
    assert.equal(0, code)
    assert.equal([[
letter      10-1
status      dead
when        2023-11-14T22:13:20.123Z
rule        cart
version     2
reason      error
stream      cart
entry       5-1
attempts    1
key         u1
event       {"user":"u1","total":12.5}
message
  cart.lua:12: oops
  more
traceback
  rules/cart.lua:12: in on_event
  rules/cart.lua:3: in help
]], out)
    add("11-0", { event = raw("a", "1", "b", "{x"),
      payload = "*3\r\n$4\r\nHSET\r\n$1\r\nk\r\n$3\r\na\r\n\r\n", traceback = "" })
    out = dlq("show", "11")
    assert.is_truthy(out:find('payload     ["HSET","k","a\\r\\n"]', 1, true), out)
    assert.is_truthy(out:find('event       {"a":"1","b":"{x"}', 1, true), out)
    add("12-0", { event = "", timer = "remind", size = 5000000, payload = "\xc1", at = "soon" })
    out = dlq("show", "12-0")
    assert.is_truthy(out:find('timer       remind\n', 1, true), out)
    assert.is_truthy(out:find('payload     "\\\\xc1"', 1, true), out)
    assert.is_truthy(out:find('when        -\n', 1, true), out)
    assert.is_nil(out:find("\nevent", 1, true))
  end)

  it("shows timers and windows: what fired, when it was due, and what it had", function()
    local fired = { event = "", stream = "", key = "u1", message = "m", traceback = "", version = "2" }
    local function with(changes)
      for name, value in pairs(fired) do
        changes[name] = changes[name] or value
      end
      return changes
    end
    add("10-1", with { timer = "remind\n", id = "1795362638669", payload = "\x81\xa1n\x05" })
    add("11-1", with { window = "1795362630000-1795362640000", id = "1795362640000", payload = "\x80" })
    add("12-1", with { window = "odd", id = "x", payload = "" })
    local out, code, err = dlq "list"
    assert.same({ 0, "" }, { code, err })
    local rows = {}
    for row in out:gmatch("[^\n]+") do
      rows[#rows + 1] = row:gsub("%s%s+", "|"):match("error|(.*)$")
    end
    assert.same({
      "-|window odd|1|dead|m",
      "-|window 2026-11-22T15:50:30.000Z to 2026-11-22T15:50:40.000Z|1|dead|m",
      "-|timer remind\\n due 2026-11-22T15:50:38.669Z|1|dead|m",
    }, rows)
    out = dlq("show", "10-1")
    assert.equal([[
letter      10-1
status      dead
when        2023-11-14T22:13:20.123Z
rule        cart
version     2
reason      error
timer       remind\n
due         2026-11-22T15:50:38.669Z
attempts    1
key         u1
payload     {"n":5}
message
  m
]], out)
    out = dlq("show", "11-1")
    assert.matches("\nwindow      2026-11-22T15:50:30.000Z to 2026-11-22T15:50:40.000Z\n"
      .. "due         2026-11-22T15:50:40.000Z\n", out, 1, true)
    assert.matches("\nwindow      odd\ndue         x\n", (dlq("show", "12-1")), 1, true)
    out = dlq("show", "10-1", "--json")
    for _, part in ipairs { '"timer":"remind\\n"', '"id":"1795362638669"', '"payload":{"n":5}' } do
      assert.is_truthy(out:find(part, 1, true), part .. " in " .. out)
    end
    assert.is_nil(out:find('"event"', 1, true))
    assert.is_nil(out:find('"fields"', 1, true))
  end)

  it("says what is wrong with an ID", function()
    add("10-1")
    for _, case in ipairs {
      { "show", "11-1", 1, "there is no letter 11-1" },
      { "show", "10", 1, "there is no letter 10-0" },
      { "show", "x", 2, "x is no ID of a letter" },
      { "retry", "10-1-1", 2, "10-1-1 is no ID of a letter" },
      { "drop", "11-1", 1, "there is no letter 11-1" },
    } do
      local out, code, err = dlq(case[1], case[2])
      assert.same({ "", case[3] }, { out, code })
      assert.is_truthy(err:find(case[4], 1, true), err)
    end
    local _, code, err = dlq("drop", "10-1", "11-1")
    assert.equal(1, code)
    assert.matches("no letter 11%-1", err)
    assert.equal(1, server:call("XLEN", DLQ)) -- all or nothing
  end)

  it("retries: the letter moves to the inbox with its ID, and ctl counts an edit", function()
    local fields = add("10-1", { letter = "3-3" })
    add("11-1")
    local out, code = dlq("retry", "10-1")
    assert.same({ "1 letter handed back to be retried\n", 0 }, { out, code })
    local inbox = server:entries(INBOX)
    fields.at, fields.attempts, fields.letter = "1700000000123", "1", "10-1"
    assert.equal(1, #inbox)
    assert.same(fields, inbox[1].fields)
    assert.equal(1, edits())
    assert.equal("7", server:call("HGET", CTL, "commits"))
    assert.matches("\n10%-1 .- retrying ", (dlq "list"))
    assert.matches("status      retrying", (dlq("show", "10-1")))
    local _, again, err = dlq("retry", "10-1")
    assert.equal(1, again)
    assert.equal("tidemill: letter 10-1 is being retried already\n", err)
    assert.same({ "1 letter dropped\n", 0, "" }, { dlq("drop", "10-1") })
    assert.equal(0, server:call("XLEN", INBOX))
    assert.equal(1, server:call("XLEN", DLQ))
  end)

  it("retries all that are selected, in their order, in bundles", function()
    for i = 1, 2500 do
      add("20-" .. i, { rule = i % 2 == 0 and "a" or "b", id = "1-" .. i })
    end
    local out, code = dlq("retry", "--all", "--rule", "a")
    assert.same({ "1250 letters handed back to be retried\n", 0 }, { out, code })
    assert.equal(2, edits())
    local inbox = server:entries(INBOX)
    assert.equal(1250, #inbox)
    for i, entry in ipairs(inbox) do
      assert.equal("20-" .. i * 2, entry.fields.letter)
    end
    assert.same({ "0 letters handed back to be retried\n", 0, "" },
      { dlq("retry", "--all", "--rule", "a") })
    assert.equal(2, edits())
  end)

  it("does not retry what is unverified", function()
    add("10-1", { reason = "unverified" })
    add("11-1")
    local out, code, err = dlq("retry", "10-1")
    assert.same({ "", 1 }, { out, code })
    assert.matches("letter 10%-1 cannot be retried: unverified means", err)
    out, code, err = dlq("retry", "--all")
    assert.same({ "1 letter handed back to be retried\n", 0 }, { out, code })
    assert.matches("1 unverified letters? w", err)
    assert.same({ "10-1" }, { server:entries(DLQ)[1].id })
    out, code = dlq("retry", "10-1", "11-1")
    assert.same({ "", 1 }, { out, code })
  end)

  it("drops, everything only when asked twice", function()
    add("10-1")
    add("11-1", { reason = "schema" })
    add("12-1", { reason = "schema" })
    add("13-1")
    assert.same({ "1 letter dropped\n", 0, "" }, { dlq("drop", "10-1", "10-1") })
    assert.same({ "2 letters dropped\n", 0, "" }, { dlq("drop", "--all", "--reason", "schema") })
    local _, code, err = dlq("drop", "--all")
    assert.equal(2, code)
    assert.matches("add --rule, --reason or --yes", err, 1, true)
    assert.same({ "1 letter dropped\n", 0, "" }, { dlq("drop", "--all", "--yes") })
    assert.equal(0, server:call("XLEN", DLQ))
  end)

  it("refuses words that make no sense", function()
    for _, case in ipairs {
      { { "list", "5-1" }, "does not know what to do" }, { { "show" }, "needs the ID" },
      { { "show", "1", "2" }, "needs the ID" },
      { { "retry" }, "needs the IDs of letters, or --all" },
      { { "drop", "--rule", "a" }, "needs the IDs of letters, or --all" },
      { { "retry", "1-1", "--all" }, "either IDs, or --all" }, { {}, "dlq needs more" },
    } do
      local _, code, err = dlq(unpack(case[1]))
      assert.equal(2, code)
      assert.is_truthy(err:find(case[2], 1, true), err)
    end
  end)

  describe("with several partitions", function()
    local TAGGED = "tidemill:{3}:tidemill:"

    before_each(function()
      server:call("HSET", TAGGED .. "ctl", "fence", "1:b")
      server:call("HSET", "tidemill:other:ctl", "fence", "1:b")
      server:call("HSET", "tidemill:{3}:tidemillx:ctl", "fence", "1:b")
      add("10-1")
      add("11-1", nil, TAGGED .. "dlq")
      add("12-1", nil, "tidemill:other:dlq")
    end)

    it("lists all, and one with --tag", function()
      assert.same({ "11-1", "10-1" }, ids())
      assert.same({ "11-1" }, ids("--tag", "3"))
      assert.same({ "10-1" }, ids("--tag", ""))
      assert.matches("^PARTITION  ID .*\n3 +11%-1 .*\n%- +10%-1 ", (dlq "list"))
      local _, code, err = dlq("list", "--tag", "4")
      assert.equal(1, code)
      assert.matches("group tidemill has no partition {4}", err)
    end)

    it("finds a letter wherever it is, and asks when two have the ID", function()
      assert.same({ "2 letters handed back to be retried\n", 0, "" },
        { dlq("retry", "11-1", "10-1") })
      assert.equal(1, server:call("XLEN", TAGGED .. "inbox"))
      assert.equal(1, server:call("XLEN", INBOX))
      assert.equal(1, edits())
      assert.equal(1, edits(TAGGED .. "ctl"))
      add("20-1")
      add("20-1", nil, TAGGED .. "dlq")
      local _, code, err = dlq("drop", "20-1")
      assert.equal(2, code)
      assert.matches("choose one with --tag", err, 1, true)
      assert.same({ "1 letter dropped\n", 0, "" }, { dlq("drop", "20-1", "--tag", "3") })
      assert.equal(1, server:call("XLEN", DLQ))
    end)
  end)

  -- That many commits a second (20,000) leave room for a few dozen letters at a time, ten times a second.
  it("gets between the commits of a busy owner", function()
    for i = 1, 1000 do
      add("20-" .. i)
    end
    local busy = process.start { "redis-cli", "-s", server.socket, "-r", "100000000", "HINCRBY",
      CTL, "commits", "1" }
    wait.until_true(function()
      return tonumber(server:call("HGET", CTL, "commits")) > 100
    end)
    local started = wait.now()
    local code, out, err =
      program.run({ "dlq", "retry", "--all" }, { env = { REDIS_URL = server:url() } }, 120)
    busy:kill()
    assert.same({ "1000 letters handed back to be retried\n", 0, "" }, { out, code, err })
    assert.equal(1000, server:call("XLEN", INBOX))
    assert.equal(0, server:call("XLEN", DLQ))
    -- At most ten transactions a second.
    assert.is_true(edits() <= (wait.now() - started) * 10 + 1)
  end)

  it("never makes a ctl, and says when Redis refuses", function()
    add("10-1")
    local _, code, err = dlq("retry", "10-1", "--group", "other")
    assert.equal(1, code)
    assert.matches("nothing was ever run as group other", err)
    assert.equal(0, server:call("EXISTS", "tidemill:other:ctl"))
    server:call("SET", INBOX, "x")
    _, code, err = dlq("drop", "10-1")
    assert.equal(0, code, err) -- the inbox is not needed for that
    add("11-1")
    _, code, err = dlq("list")
    assert.equal(1, code)
    assert.matches("cannot read tidemill:tidemill:inbox: Redis says WRONGTYPE", err)
    server:call("DEL", INBOX)
    server:call("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", "-xdel")
    local url = server:url("", "reader:pw@")
    code, _, err = program.run({ "dlq", "retry", "11-1" }, { env = { REDIS_URL = url } })
    assert.equal(1, code)
    assert.matches("Redis refused the change of partition untagged: NOPERM", err)
    assert.equal(0, server:call("XLEN", INBOX))
  end)
end)
