-- tidemill shadow: what is kept of shadow rules, for people and for programs.
local json = require "dkjson"
local engine = require "spec.support.engine"
local program = require "spec.support.program"
local redis = require "spec.support.redis"

local OURS = "tidemill:tidemill:"

describe("tidemill shadow", function()
  local server

  setup(function() server = redis.start() end)
  teardown(function() server:stop() end)
  before_each(function()
    server:call "FLUSHALL"
    server:call("HSET", OURS .. "ctl", "fence", "1:a", "commits", 7, "edits", 0)
  end)

  local function shadow(...)
    local code, out, err = program.run({ "shadow", ... }, { env = { REDIS_URL = server:url() } })
    return out, code, err
  end

  -- Lists of effects, { stream, event } or words, as msgpack; an empty list is an empty array.
  local function pack(effects) return #effects == 0 and "\x90" or engine.pack(effects) end

  local function add(id, fields, key)
    local record = { stream = "cart", id = "5-" .. id:match "^%d+", key = "u1", version = "2", of = "old", of_version = "1", same = "0" }
    for name, v in pairs(fields) do record[name] = v end
    record.would, record.did = pack(record.would or {}), pack(record.did or {})
    local words = { "XADD", key or OURS .. "shadow:next", id }
    for name, v in pairs(record) do
      if v then words[#words + 1], words[#words + 2] = name, v end
    end
    server:call(unpack(words))
  end

  local function offer(percent) return { "offers", { percent = percent } } end

  local function some()
    add("1-0", { would = { offer(5) }, did = { offer(5) }, same = "1" })
    add("2-0", { would = { offer(8) }, did = { offer(5) } })
    add("3-0", { would = { { "INCR", "n" }, offer(1) }, did = {} })
    add("4-0", { would = {}, did = { offer(7) }, key = "u\27" })
    add("5-0", { would = {}, did = { offer(7) }, reason = "error", message = "next.lua:3: oops\nmore", traceback = "next.lua:3" })
  end

  it("RULE shows the newest first, and what they come to", function()
    some()
    local out, code, err = shadow "next"
    assert.same({ 0, "" }, { code, err })
    assert.equal([[
ID   KEY    VERDICT     WOULD                                  DID
5-5  u1     different   error: next.lua:3: oops                ["offers",{"percent":7}]
5-4  u\x1b  only did    -                                      ["offers",{"percent":7}]
5-3  u1     only would  ["INCR","n"],["offers",{"percent":1}]  -
5-2  u1     different   ["offers",{"percent":8}]               ["offers",{"percent":5}]
5-1  u1     same        ["offers",{"percent":5}]               ["offers",{"percent":5}]

next beside old: 5 records: 1 same, 2 different, 1 only would, 1 only did; 1 failed

OUTPUT  FIELD    DID  WOULD  COMPARED  DIFFERENT  MEAN DIFFERENCE
offers  percent  24   14     2         1          1.5
]], out)
    assert.equal(out, (shadow "shadow:next"))
  end)

  it("RULE --different --count N shows fewer, and counts all", function()
    some()
    local out = shadow("next", "--different", "--count", "1")
    assert.matches("^ID[^\n]*\n5%-5 [^\n]*\n\nnext beside old: 5 records: 1 same", out)
    out = shadow("next", "--different", "--count", "0")
    assert.is_nil(out:find("5-1 ", 1, true))
    assert.is_truthy(out:find("5-2 ", 1, true))
    server:call("DEL", OURS .. "shadow:next")
    add("1-0", { would = { offer(5) }, did = { offer(5) }, same = "1" })
    assert.equal("next beside old: 1 record: 1 same, 0 different, 0 only would, 0 only did; 0 failed\n", (shadow("next", "--different")))
  end)

  it("RULE --json is a record a line", function()
    some()
    local lines = {}
    for line in (shadow("next", "--json")):gmatch "[^\n]+" do lines[#lines + 1] = json.decode(line) end
    assert.equal(5, #lines)
    assert.same({ record = "2-0", stream = "cart", id = "5-2", key = "u1", version = "2", of = "old",
      of_version = "1", would = { offer(8) }, did = { offer(5) }, same = false }, lines[4])
    assert.matches('"partition":null', (shadow("next", "--json")))
    assert.same({ "error", "next.lua:3: oops\nmore", "next.lua:3", {} },
      { lines[1].reason, lines[1].message, lines[1].traceback, lines[1].would })
    assert.is_true(lines[5].same)
  end)

  it("joins the halves of what fired of the two rules", function()
    local function fired(id, fields)
      fields.stream, fields.id, fields.key = false, fields.id or "900", fields.key or "k"
      add(id, fields)
    end
    fired("1-0", { window = "100-900", would = {}, did = { { "out", { a = 1, b = { 1, 2 } } } } })
    fired("1-1", { window = "100-900", would = {}, did = { offer(7) }, key = "l" })
    fired("1-2", { window = "100-900", would = { offer(9) }, key = "l" })
    -- (The support packs names in order; this has them the other way round.)
    server:call("XADD", OURS .. "shadow:next", "1-3", "id", "900", "window", "100-900", "key", "k", "of", "old", "same", "0",
      "would", "\x91\x92\xa3out\x82\xa1b\x92\x01\x02\xa1a\x01", "did", "\x90")
    fired("2-0", { timer = "t", would = { offer(1) } })
    fired("2-1", { timer = "t", would = { offer(1) } }) -- never two of one rule
    fired("2-2", { timer = "t", would = { offer(1) }, did = { offer(1) }, same = "1" }) -- nor a whole one
    local out = shadow "next"
    assert.is_truthy(out:find("next beside old: 5 records: 2 same, 1 different, 2 only would, 0 only did; 0 failed", 1, true), out)
    assert.is_truthy(out:find('window 100-900 900  l    different   ["offers",{"percent":9}]   ["offers",{"percent":7}]', 1, true), out)
  end)

  it("lists the rules of which records are kept, of all partitions", function()
    some()
    server:call("HSET", "tidemill:{3}:tidemill:ctl", "fence", "1:a")
    add("9-0", { would = { offer(2) }, did = { offer(2) }, same = "1" }, "tidemill:{3}:tidemill:shadow:next")
    add("9-0", { of = false, would = { offer(2) } }, "tidemill:{3}:tidemill:shadow:alone")
    for _, key in ipairs { "tidemill:other:shadow:no", OURS .. "shadow:a:b", OURS .. "xshadow:no" } do add("1-0", {}, key) end
    assert.equal([[
RULE   OF   KEPT  SAME  DIFFERENT  ONLY WOULD  ONLY DID  FAILED
alone  -    1     0     0          1           0         0
next   old  6     2     2          1           1         1
]], (shadow()))
    local first, second = (shadow "--json"):match "^([^\n]+)\n([^\n]+)\n$"
    assert.same({ rule = "alone", kept = 1, same = 0, different = 0, only_would = 1, only_did = 0, failed = 0, fields = {
      { output = "offers", field = "percent", did = 0, would = 2, compared = 0, different = 0, mean_difference = 0 } } },
      json.decode(first))
    assert.same({ 6, "old" }, { json.decode(second).kept, json.decode(second).of })
    assert.matches("^PARTITION  ID .*\n3 +5%-9 ", (shadow "next"))
    assert.matches("1 record: 1 same", (shadow("next", "--tag", "3")))
    assert.matches("alone beside no rule: 1 record", (shadow "alone"))
  end)

  it("reads more than a page", function()
    local commands = {}
    for n = 1, 1203 do
      commands[n] = { "XADD", OURS .. "shadow:next", "7-" .. n, "stream", "cart", "id", "1-" .. n, "would", pack { offer(n) },
        "did", "\x90", "same", "0" }
    end
    server:pipeline(commands)
    local out = shadow("next", "--json", "--count", "0")
    assert.equal(1203, select(2, out:gsub("\n", "")))
    assert.matches('^{"record":"7%-1203"', out)
    assert.matches("1203 records", (shadow "next"))
  end)

  it("says what is not there", function()
    local out, code, err = shadow()
    assert.same({ "", 0, "" }, { out, code, err })
    some()
    out, code, err = shadow "nex"
    assert.same({ "", 1, "tidemill: no records are kept of a shadow rule nex; did you mean next?\n" }, { out, code, err })
    out, code, err = shadow "a b"
    assert.same({ "", 2 }, { out, code })
    assert.equal("tidemill: a b is no name of a rule: 1 to 64 of A-Z a-z 0-9 _ -; see tidemill shadow --help\n", err)
    out, code, err = shadow("next", "--group", "none")
    assert.same({ "", 1 }, { out, code })
    assert.matches("nothing was ever run as group none", err)
    server:call("DEL", OURS .. "shadow:next")
    server:call("SET", OURS .. "shadow:next", "x")
    out, code, err = shadow "next"
    assert.same({ "", 1 }, { out, code })
    assert.matches("cannot read tidemill:tidemill:shadow:next: Redis says WRONGTYPE", err)
  end)

  it("shows what is no record as far as it can", function()
    server:call("XADD", OURS .. "shadow:next", "1-0", "would", "\xc1", "same", "?")
    local out, code = shadow "next"
    assert.equal(0, code)
    assert.matches("next beside no rule: 1 record", out)
    out, code = shadow("next", "--json")
    assert.equal(0, code)
    assert.is_table(json.decode(out))
  end)
end)
