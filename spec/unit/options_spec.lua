local ffi = require "ffi"
local C = require("spec.support.header").load("src/config/options.h", "src/config/config.h")

local function rows()
  local list = {}
  for i = 0, tonumber(C.option_count) - 1 do
    list[#list + 1] = C.option_table[i]
  end
  return list
end

local function text(pointer)
  return pointer ~= nil and ffi.string(pointer) or nil
end

local function duration(word)
  local ms = ffi.new("int64_t[1]", -1)
  return C.option_parse_duration(word, ms) and tonumber(ms[0]) or nil
end

-- Stores into a config; returns the config, or nil and the sentence.
local function store(name, word)
  local option = C.option_by_name(name)
  assert(option ~= nil, name)
  local config, why = ffi.new("struct config"), ffi.new("struct error")
  if C.option_store(option, config, word, config.memory, why) ~= 0 then
    assert.equal(C.ERROR_USAGE, why.code)
    return nil, ffi.string(why.text)
  end
  return config
end

describe("the table of options", function()
  it("has names, flags a command and paths once", function()
    local names, flags, paths = {}, {}, {}
    for _, row in ipairs(rows()) do
      assert.is_nil(names[text(row.name)], text(row.name))
      names[text(row.name)] = true
      assert.is_true(row.flag ~= nil or row.path ~= nil, text(row.name))
      if row.path ~= nil then
        assert.is_nil(paths[text(row.path)], text(row.path))
        paths[text(row.path)] = true
      end
      for command = 0, C.COMMAND_COUNT - 1 do
        if row.flag ~= nil and bit.band(row.commands, bit.lshift(1, command)) ~= 0 then
          local flag = command .. " " .. text(row.flag)
          assert.is_nil(flags[flag], flag)
          flags[flag] = true
        end
      end
    end
  end)

  it("says of every row what it is for, in one sentence, and what its value is", function()
    for _, row in ipairs(rows()) do
      local help = text(row.help)
      assert.matches("^%l", help)
      assert.matches("[^.]$", help)
      assert.is_true(#help < 140, help)
      assert.is_true(row.type == C.OPTION_SWITCH or row.placeholder ~= nil, text(row.name))
      assert.is_true(row.commands ~= 0, text(row.name))
    end
  end)

  it("has the defaults of the contract", function()
    local want = {
      redis = "redis://127.0.0.1:6379", group = "tidemill", rules = "rules", from = "end",
      batch_ms = "20",
      lease_ms = "5000", future = "1h", batch_events = "1000", dlq_maxlen = "100000",
      record = "0", record_maxlen = "100000",
      rule_ms = "50", hard_ms = "1000",
      load_ms = "5000", vm_mb = "256", effects = "1000", effect_kb = "1024", event_kb = "1024",
      event_depth = "32",
      event_elements = "65536", state_kb = "64", state_cache_mb = "16", stream_codec = "auto",
      output_codec = "msgpack",
    }
    for name, standard in pairs(want) do
      assert.equal(standard, text(C.option_by_name(name).standard), name)
    end
  end)
end)

describe("values", function()
  it("are durations with units or plain ms", function()
    for word, ms in pairs({
      ["0"] = 0, ["20"] = 20, ["250ms"] = 250, ["10s"] = 10000, ["30m"] = 1800000, ["2h"] = 7200000,
        ["8d"] = 691200000,
    }) do
      assert.equal(ms, duration(word), word)
    end
    for _, word in ipairs({ "", "s", "-1", "1.5s", "10 s", "10S", "1w", "9223372036854775807d",
      "99999999999999999999" }) do
      assert.is_nil(duration(word), word)
    end
  end)

  it("are kept in the place of their type", function()
    assert.equal("shop.v1", ffi.string(store("group", "shop.v1").group))
    assert.equal(500, tonumber(store("batch_events", "500").batch_events))
    assert.equal(7200000, tonumber(store("future", "2h").future_ms))
    assert.equal(2, store("log_level", "warn").log_level)
    for word, share in pairs { ["0"] = 0, ["1"] = 1, ["0.25"] = 0.25, ["1e-3"] = 0.001 } do
      assert.equal(share, store("record", word).record, word)
    end
    assert.equal(1, store("partition", "stream").partition)
    assert.equal(C.CODEC_FIELDS, store("send_codec", "fields").send.codec)
    assert.is_true(store("allow_eviction", "true").allow_eviction)
    assert.is_false(store("allow_eviction", "0").allow_eviction)
    assert.equal("error", ffi.string(store("dlq_reason", "error").dlq.reason))
  end)

  it("that are wrong are refused with what would be right", function()
    for _, case in ipairs({
      { "group", "a b", "must be 1 to 64 of the characters A-Z a-z 0-9 _ . -, not \"a b\"" },
      { "group", "", "must be 1 to 64" },
      { "group", ("x"):rep(65), "must be 1 to 64" },
      { "from", "now", "must be start, end or an entry ID such as 1700000000000-0, not \"now\"" },
      { "from", "5-", "must be start" },
      { "http", "9464", "must be off or ADDRESS:PORT" },
      { "http", "h:99999", "must be off or ADDRESS:PORT" },
      { "log_level", "loud", 'must be debug, info, warn or error, not "loud"' },
      { "partition", "shared", 'must be stream, not "shared"' },
      { "batch_events", "0", "must be 1 to 100000, not 0" },
      { "batch_events", "many", 'must be a whole number (1 to 100000), not "many"' },
      { "batch_events", "1e3", "must be a whole number" },
      { "batch_ms", "99999999", "must be 1 to 10000 ms, not 99999999" },
      { "record", "1.01", "must be a number from 0 (none) to 1 (all) such as 0.05, not 1.01" },
      { "record", "-0.5", "must be a number from 0" },
      { "record", "5%", "must be a number from 0" },
      { "record", "nan", "must be a number from 0" },
      { "record", "0x1", "must be a number from 0" },
      { "record", "", "must be a number from 0" },
      { "future", "soon", "must be a time such as 250ms, 10s, 30m or 8d" },
      { "tail_count", "-1", "must be 1 or more, not -1" },
      { "dlq_reason", "bad", "must be decode, schema, key" },
      { "allow_eviction", "yes", 'must be true or false, not "yes"' },
      { "rules", "", "must not be empty" },
      { "tag", "{a}", "must be the text between the braces" },
    }) do
      local config, why = store(case[1], case[2])
      assert.is_nil(config, case[1] .. " " .. case[2])
      assert.is_true(why:find(case[3], 1, true) == 1, case[1] .. ": " .. why)
    end
    for _, from in ipairs({ "start", "end", "0", "1700000000000", "1700000000000-12" }) do
      assert.is_truthy(store("from", from))
    end
  end)
end)
