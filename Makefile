# sluice: one way to do each thing. `make help` lists them.

# Which build: release (default), asan, tsan, fuzz, cov. Each has a tree of its own.
VARIANT ?= release
B       ?= build/$(VARIANT)
ifeq ($(origin CC),default)
CC      := $(if $(filter fuzz cov,$(VARIANT)),clang-14,gcc)
endif
PREFIX  ?= /usr/local
CCACHE  ?=
COMPILE  = $(CCACHE) $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

PKGS := libevent libevent_openssl libevent_pthreads openssl libjwt jansson libcurl yaml-0.1 \
        sqlite3 libpcre2-8
WARN := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes \
        -Wmissing-prototypes -Wcast-qual -Wformat=2 -Wvla -Wundef -Wswitch-enum \
        -Wnull-dereference -Wwrite-strings -Werror
HARDEN := -fstack-protector-strong -fPIE -fcf-protection=full
ifneq ($(findstring clang,$(CC)),clang)
HARDEN += -fstack-clash-protection
endif
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=3
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
                  -fno-omit-frame-pointer -DSLUICE_TEST=1
CFLAGS_tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer -DSLUICE_TEST=1
# Test build without sanitizers: for very many seeds of the simulation.
CFLAGS_sim     := -O2 -g -DSLUICE_TEST=1
CFLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
                  -fno-sanitize-coverage=trace-cmp \
                  -fno-sanitize-recover=all -fno-omit-frame-pointer -DSLUICE_TEST=1
CFLAGS_cov     := -O1 -g -fprofile-instr-generate -fcoverage-mapping -DSLUICE_TEST=1 \
                  -Wno-string-plus-int -Wno-pedantic
ifneq ($(VARIANT),release)
# -Wnull-dereference reports false positives in instrumented code.
WARN := $(filter-out -Wnull-dereference,$(WARN))
endif

CPPFLAGS += -D_GNU_SOURCE -I. -I$(B)/gen $(shell pkg-config --cflags $(PKGS))
CFLAGS   += -std=c11 $(WARN) $(HARDEN) $(CFLAGS_$(VARIANT)) -pthread
LDFLAGS  += $(filter -fsanitize=address% -fsanitize=thread -fprofile%,$(CFLAGS_$(VARIANT))) -pie \
            -Wl,-z,relro,-z,now,-z,noexecstack -pthread
LDLIBS   += $(shell pkg-config --libs $(PKGS))

DIRS := base codec config auth audit proxy control edc
SRCS := $(filter-out codec/mkschema%,$(wildcard $(DIRS:%=%/*.c)))
OBJS := $(SRCS:%.c=$(B)/%.o) $(B)/gen/codec/tables.o
LIB  := $(B)/libsluice.a
UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/test_*.c))

all: $(B)/sluice

# --- the schema compiler runs first: codec/schema/*.kafka -> const tables and field names
SCHEMAS := $(wildcard codec/schema/*.kafka)
GEN     := $(B)/gen/codec/names.h $(B)/gen/codec/tables.c
$(B)/mkschema: codec/mkschema.c codec/mkschema_out.c codec/mkschema.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARN) -D_GNU_SOURCE -I. -o $@ $(filter %.c,$^)
$(B)/gen/.stamp: $(B)/mkschema $(SCHEMAS)
	@mkdir -p $(B)/gen/codec
	$(B)/mkschema -o $(B)/gen/codec $(SCHEMAS)
	@touch $@
$(GEN): $(B)/gen/.stamp

$(B)/gen/codec/tables.o: $(B)/gen/.stamp
	$(CCACHE) $(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $(B)/gen/codec/tables.c
$(B)/%.o: %.c $(B)/gen/.stamp
	@mkdir -p $(@D)
	$(COMPILE)
$(LIB): $(OBJS)
	@rm -f $@
	$(AR) rcs $@ $^
$(B)/sluice: $(B)/main.o $(B)/run.o $(B)/view.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
lib: $(LIB)

# --- unit tests: tests/unit/test_X.c stands beside the X that it tests
$(UNIT): $(B)/unit/%: $(B)/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) -o $@ $(filter %.o,$^) $(LIB) $(LDFLAGS) $(LDLIBS) -lcmocka
$(B)/unit/test_cluster_mock: LDLIBS += -lrdkafka
FUZZ_MUTATE := $(addprefix $(B)/fuzz/,mutate.o mutate_json.o mutate_text.o mutate_frames.o)
$(B)/unit/test_mutate: $(FUZZ_MUTATE)
unit: $(UNIT)

# --- the whole gate in a simulated world, see tests/sim/sim.h. Its loop and its allocator stand
# before the product's in the link; what the product asks of the kernel, and of what has a thread of
# its own, is sent to it.
SIM_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c))
SIM_WRAP := free socket connect close recv readv sendmsg setsockopt getsockopt shutdown eventfd \
            eventfd_read eventfd_write getrandom resolve_port_new resolve_port_free resolve_ask \
            resolve_cancel audit_ring_new audit_ring_free audit_put audit_ok change_ack_bar \
            change_ack_done EVP_DigestVerify
SIM_SEEDS ?= 2000
$(B)/sim: $(SIM_OBJS) $(LIB)
	$(CC) $(LDFLAGS) $(SIM_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(LDLIBS)
sim:
	@$(MAKE) --no-print-directory -s VARIANT=asan build/asan/sim
	@scripts/sim.sh build/asan/sim $(SIM_SEEDS)

# --- demo: an embedded cluster, an authorization server and clients for a first look
DEMO_TOOLS := $(addprefix $(B)/,demo-brokers demo-idp demo-producer demo-probe)
DEMO_LIBS   = $(LDLIBS) $(shell pkg-config --libs rdkafka)
# A plugin is loaded by a program that was built without sanitizers, so it never has any.
PLUGIN_CFLAGS := $(patsubst -fPIE,-fPIC,$(filter-out $(CFLAGS_$(VARIANT)),$(CFLAGS))) $(CFLAGS_release)

$(B)/demo-brokers: $(B)/demo/brokers.o $(B)/demo/util.o
$(B)/demo-idp: $(addprefix $(B)/demo/,idp.o idp_state.o idp_admin.o jose.o util.o)
$(B)/demo-producer: $(B)/demo/producer.o $(B)/demo/util.o
$(B)/demo-probe: $(B)/demo/probe.o $(B)/demo/util.o
$(DEMO_TOOLS):
	$(CC) $(LDFLAGS) -o $@ $^ $(DEMO_LIBS)
$(B)/kcat-token.so: demo/kcat_token.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(PLUGIN_CFLAGS) -MMD -MP -MF $@.d -shared -Wl,-z,relro,-z,now -o $@ $< \
	    -lcurl -ljansson -lrdkafka
demo/kcat-token.so: $(B)/kcat-token.so
	ln -sf $(abspath $<) $@
demo-tools: $(DEMO_TOOLS) $(B)/kcat-token.so
demo:
	@scripts/install.sh run build demo
	@echo 'building $(B)/sluice and the demonstration'
	@$(MAKE) --no-print-directory -s -j$$(nproc) $(B)/sluice demo-tools demo/kcat-token.so
	@B=$(abspath $(B)) demo/run.sh

# --- showcase: behind real connectors, on this machine
showcase:
	@scripts/install.sh run build demo check
	@echo 'building $(B)/sluice'
	@$(MAKE) --no-print-directory -s -j$$(nproc) $(B)/sluice
	@B=$(abspath $(B)) scripts/showcase.sh

# --- fuzz targets: libFuzzer, so clang; `make fuzz FUZZ_SECONDS=60` builds and runs them all,
# `make fuzz-keep` takes over into fuzz/corpus what was found and adds coverage
FUZZ := $(patsubst fuzz/%.c,$(B)/fuzz/%,$(wildcard fuzz/fuzz_*.c))
FUZZ_CC ?= clang-14
FUZZ_SECONDS ?= 60
FUZZ_LINK_fuzz := -fsanitize=fuzzer,address,undefined
FUZZ_LINK_cov  := -fsanitize=fuzzer
# What stands before the library in the link: a world of memory for whole sessions.
FUZZ_WORLD := $(addprefix $(B)/fuzz/,world.o world_cluster.o world_judge.o world_loop.o)
$(B)/fuzz/fuzz_session $(B)/fuzz/fuzz_policy: $(FUZZ_WORLD)
$(B)/fuzz/fuzz_store: $(B)/fuzz/world_loop.o
$(B)/fuzz/fuzz_frame $(B)/fuzz/fuzz_split: $(B)/fuzz/pieces.o
$(FUZZ): $(B)/fuzz/%: $(B)/fuzz/%.o $(FUZZ_MUTATE) $(LIB)
	$(CC) -o $@ $(filter-out $(LIB),$^) $(LIB) $(LDFLAGS) $(FUZZ_LINK_$(VARIANT)) $(LDLIBS)
# Dictionaries from the schema and the table of options.
$(B)/fuzz/schema.dict: $(B)/fuzz/mkdict.o $(LIB)
	$(CC) -o $(B)/fuzz/mkdict $^ $(LDFLAGS) $(filter -fsanitize%,$(CFLAGS_$(VARIANT))) $(LDLIBS)
	$(B)/fuzz/mkdict $(B)/fuzz
fuzz-targets: $(FUZZ) $(B)/fuzz/schema.dict
ifeq ($(VARIANT),fuzz)
fuzz: fuzz-targets
	B=$(B) FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh
fuzz-keep: fuzz-targets
	B=$(B) scripts/fuzz.sh --keep
else
fuzz fuzz-keep:
	$(MAKE) --no-print-directory VARIANT=fuzz CC=$(FUZZ_CC) $@
endif

# --- our decoder and Kafka's, frame by frame: `make fuzz-differential FRAMES=10000000 SEED=1`
FRAMES ?= 1000000
SEED   ?= 1
$(B)/differential: $(B)/fuzz/differential.o $(B)/fuzz/mutate.o $(LIB)
	$(CC) -o $@ $^ $(LDFLAGS) $(LDLIBS)
fuzz-differential: $(B)/differential
	scripts/differential.sh $< $(FRAMES) $(SEED)

# --- the codec against Apache Kafka's own classes (needs a JDK and maven)
$(B)/conform: $(B)/tests/conformance/conform.o $(LIB)
	$(CC) -o $@ $< $(LIB) $(LDFLAGS) $(LDLIBS)
$(B)/conform-gate: tests/conformance/gate.c $(LIB)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Itests/unit -MMD -MP -MF $@.d -o $@ $< $(LIB) $(LDFLAGS) $(LDLIBS) -lcmocka
conformance: $(B)/conform $(B)/conform-gate
	scripts/conformance.sh $(B)

# --- the load of `make bench`
$(B)/bench-load: $(B)/bench/load.o
	$(CC) -o $@ $< $(LDFLAGS) -lssl -lcrypto
bench:
	B=$(abspath $(B)) scripts/bench.sh
$(B)/bench-codec: $(B)/bench/codec/codec.o $(LIB)
	$(CC) -o $@ $< $(LIB) $(LDFLAGS) $(LDLIBS) -lcmocka
bench-codec:
	B=$(abspath $(B)) scripts/bench-codec.sh
bench-revoke:
	B=$(abspath $(B)) BENCH=revoke.py scripts/bench.sh

# --- tests: `make check` is all of it, `make test` the quick loop
check:
	scripts/check.sh
test:
	scripts/check.sh install build unit embedded
coverage:
	scripts/coverage.sh
check-edc:
	scripts/check.sh install build edc
# Each check of what must not pass, taken out of a copy: does a test miss it?
mutations:
	scripts/mutate.py

install: $(B)/sluice
	install -D -m 0755 $(B)/sluice $(DESTDIR)$(PREFIX)/bin/sluice

# What a tool that parses the sources must know; the generated header is there after a build.
flags:
	@echo -std=c11 $(CPPFLAGS)

help:
	@echo 'make            build the gate (build/release/sluice)'
	@echo 'make demo       the whole story on an embedded cluster'
	@echo 'make showcase   two use cases behind real connectors'
	@echo 'make check      install, build, lint, and every test'
	@echo 'make test       the quick loop: units and the embedded cluster'
	@echo 'make check-edc  behind real connectors and a real authorization server'
	@echo 'make mutations  take each check out and see a test fail'
	@echo 'make coverage   lines of codec, auth and policy that the tests run through'
	@echo 'make fuzz       every fuzz target, FUZZ_SECONDS=60 each'
	@echo 'make fuzz-differential  our decoder against Kafka, FRAMES=1000000 SEED=1'
	@echo 'make sim        the whole gate in SIM_SEEDS=2000 simulated worlds'
	@echo 'make bench      side by side with HAProxy'
	@echo 'make bench-codec  the codec beside those of librdkafka and Kafka'
	@echo 'make bench-revoke  how fast 1,000 sessions close (takes root)'
	@echo 'make install    PREFIX=/usr/local'

-include $(OBJS:.o=.d) $(B)/main.d $(B)/run.d $(B)/view.d $(B)/kcat-token.so.d \
    $(wildcard $(B)/tests/*/*.d $(B)/fuzz/*.d $(B)/demo/*.d $(B)/bench/*.d $(B)/bench/*/*.d)

clean:
	rm -rf build
.PHONY: all lib unit sim clean check check-edc showcase test install flags help bench bench-codec bench-revoke coverage demo demo-tools fuzz fuzz-targets fuzz-keep fuzz-differential conformance mutations
.DELETE_ON_ERROR:
