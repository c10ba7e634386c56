# Tidemill: rules on Redis Streams. `make help` lists what can be made.
#
# Nothing is built inside the tree: one folder a variant,  make VARIANT=asan  has AddressSanitizer and UBSan, and
# make CC=clang BUILD=build/clang  a folder of your choice. V=1 shows the commands.
VARIANT ?= release
BUILD   := build/$(VARIANT)
PREFIX  ?= /usr/local
LUAJIT  ?= luajit
SECONDS ?= 30

PACKAGES   := luajit hiredis libevent msgpack yajl
PKG_CONFIG ?= pkg-config

# Targets that compile nothing by themselves work before anything is installed.
LIGHT := help clean demo test bench check-layers check-format lint uninstall
ifneq ($(filter-out $(LIGHT),$(or $(MAKECMDGOALS),all)),)
MISSING := $(strip $(foreach p,$(PACKAGES),$(if $(shell $(PKG_CONFIG) --exists $(p) 2>/dev/null || echo no),$(p))))
ifneq ($(MISSING),)
$(error not found: $(MISSING). Run scripts/setup, which installs what is missing)
endif
endif
PACKAGE_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
PACKAGE_LIBS   := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)

CFLAGS_release  := -O2 -g
CFLAGS_asan     := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_asan    := -fsanitize=address,undefined
# What spec/chaos shows itself with: pauses and mutants by name (src/base/fault.h).
CFLAGS_faults   := -O1 -g -DTIDEMILL_FAULTS

TM_CFLAGS  := -std=gnu11 -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -fPIC \
              -fno-strict-aliasing -fvisibility=default -D_GNU_SOURCE -Isrc -I$(BUILD)/src \
              $(PACKAGE_CFLAGS) $(CFLAGS_$(VARIANT))
TM_LDFLAGS := $(LDFLAGS_$(VARIANT)) -rdynamic
TM_LIBS    := $(PACKAGE_LIBS) -lm -ldl -lpthread

COMPILE = $(CC) $(TM_CFLAGS) $(if $(CI),-Werror) $(CFLAGS) $(CPPFLAGS)
LINK    = $(CC) $(TM_LDFLAGS) $(LDFLAGS)

SOURCES := $(filter-out src/main.c,$(sort $(wildcard src/*/*.c)))
MODULES := $(sort $(wildcard src/runtime/*.lua src/runtime/*/*.lua))
INIT    := $(addprefix src/cli/init/,tidemill.lua rules/loyalty.lua spec/loyalty_spec.lua spec/loyalty.cases.jsonl .luarc.json)
EMBEDS  := $(BUILD)/src/runtime/modules.o $(BUILD)/src/cli/init_files.o
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(EMBEDS)

# Files that name what a build was made with: other flags compile again, other sources link again.
FLAGS := $(CC) $(TM_CFLAGS) $(CFLAGS) $(CPPFLAGS)
PARTS := $(LINK) $(TM_LIBS) $(OBJECTS) $(MODULES) $(INIT)
write   = $(shell mkdir -p $(BUILD))$(file >$(BUILD)/$(1),$(2))
differ  = $(filter-out $(1),$(2))$(filter-out $(2),$(1))
ifneq ($(filter-out $(LIGHT),$(or $(MAKECMDGOALS),all)),)
$(if $(call differ,$(file <$(BUILD)/flags),$(FLAGS)),$(call write,flags,$(FLAGS)))
$(if $(call differ,$(file <$(BUILD)/parts),$(PARTS)),$(call write,parts,$(PARTS)))
endif

ifneq ($(findstring s,$(firstword -$(MAKEFLAGS))),)
say = @:
Q   = @
else ifeq ($(V),1)
say = @:
Q   =
else
say = @printf '%-5s %s\n'
Q   = @
endif

.PHONY: all help demo test test-asan fuzz bench check-layers check-format lint programs install uninstall clean
.DELETE_ON_ERROR:

all: $(BUILD)/tidemill $(BUILD)/libtidemill.so $(BUILD)/library/tidemill.lua ## build the engine (VARIANT=release or asan)

$(BUILD)/flags: ; $(call write,flags,$(FLAGS))
$(BUILD)/parts: ; $(call write,parts,$(PARTS))

$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

# The runtime's Lua becomes part of the binary.
$(BUILD)/src/runtime/modules.c: $(MODULES) scripts/embed.lua $(BUILD)/parts
	@mkdir -p $(@D)
	$(say) EMBED "src/runtime ($(words $(MODULES)) modules)"
	$(Q)$(LUAJIT) scripts/embed.lua modules src/runtime $(MODULES) > $@.new && mv $@.new $@

# So do the files that `tidemill init` makes.
$(BUILD)/src/cli/init_files.c: $(INIT) scripts/embed.lua $(BUILD)/parts
	@mkdir -p $(@D)
	$(say) EMBED "src/cli/init ($(words $(INIT)) files)"
	$(Q)$(LUAJIT) scripts/embed.lua init src/cli/init $(INIT) > $@.new && mv $@.new $@

$(EMBEDS): %.o: %.c $(BUILD)/flags
	$(say) CC $<
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

# The same objects as a library: what specs load through FFI.
$(BUILD)/libtidemill.so: $(OBJECTS) $(BUILD)/parts
	$(say) LINK $@
	$(Q)$(LINK) -shared -o $@ $(OBJECTS) $(TM_LIBS)

$(BUILD)/tidemill: $(BUILD)/src/main.o $(OBJECTS) $(BUILD)/parts
	$(say) LINK $@
	$(Q)$(LINK) -o $@ $(BUILD)/src/main.o $(OBJECTS) $(TM_LIBS)

# What editors complete rules from.
ANNOTATED := src/runtime/tidemill.lua $(wildcard src/runtime/tidemill/window.lua src/runtime/tidemill/testing*.lua src/library/*.lua)
$(BUILD)/library/tidemill.lua: $(ANNOTATED) scripts/annotations.lua
	$(say) LUA "$(@D) (annotations)"
	$(Q)$(LUAJIT) scripts/annotations.lua $(@D)

# A program of the specs: stands between the engine and Redis.
PROXY := $(BUILD)/spec/proxy
PROXY_PARTS := spec/chaos/proxy.c $(patsubst %,$(BUILD)/src/base/%.o,loop buf clock)
$(PROXY): $(PROXY_PARTS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(COMPILE) $(TM_LDFLAGS) $(LDFLAGS) -o $@ $(PROXY_PARTS) $(TM_LIBS)

programs: all $(PROXY) ## build all that the specs need

demo: ## see rules at work: builds, brings its own Redis, feeds it a web shop
	@scripts/demo

test: ## run every spec and check, after installing and building what is missing
	@scripts/setup test
	@scripts/check build unit sandbox cli examples flow chaos luacheck layers format

test-asan: ## run the specs on a build with AddressSanitizer and UBSan
	@scripts/setup test
	@scripts/check asan-build asan-unit asan-sandbox asan-cli asan-examples asan-flow asan-chaos

fuzz: ## feed the codecs garbage, each for SECONDS (30)
	@scripts/setup test
	@scripts/fuzz $(SECONDS)

bench: ## throughput, latency and memory beside plain clients; about 15 minutes
	@scripts/setup bench
	@$(MAKE) --no-print-directory all
	scripts/bench
	scripts/bench latency
	scripts/bench memory

check-layers: ## who includes whom, against src/LAYERS
	@scripts/layers

check-format: ## formatting of C and whitespace of everything (scripts/format --fix mends it)
	@scripts/format

lint: ## luacheck, shellcheck, layers and formatting
	@scripts/setup lint
	@scripts/check luacheck shellcheck layers format

install: all ## install into PREFIX (/usr/local), under DESTDIR
	install -D -m 755 $(BUILD)/tidemill $(DESTDIR)$(PREFIX)/bin/tidemill
	install -D -m 644 src/cli/tidemill.1 $(DESTDIR)$(PREFIX)/share/man/man1/tidemill.1
	install -D -m 644 src/cli/tidemill-rules.7 $(DESTDIR)$(PREFIX)/share/man/man7/tidemill-rules.7
	install -d $(DESTDIR)$(PREFIX)/share/tidemill
	cp -R $(BUILD)/library $(DESTDIR)$(PREFIX)/share/tidemill
	install -d $(DESTDIR)$(PREFIX)/share/doc/tidemill
	install -m 644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/tidemill
	cp -R examples $(DESTDIR)$(PREFIX)/share/doc/tidemill

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/tidemill
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/tidemill.1 $(DESTDIR)$(PREFIX)/share/man/man7/tidemill-rules.7
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/tidemill $(DESTDIR)$(PREFIX)/share/tidemill

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-13s %s\n", $$1, $$2 }'

clean: ## remove all that was built
	rm -rf build

-include $(OBJECTS:.o=.d) $(BUILD)/src/main.d
