#!/usr/bin/env bash
# Creates the topics of topics.yaml with Kafka's own tools. Existing topics are not changed, so the
# script can be run again; at the end it prints all of them for comparison.
#
#   BOOTSTRAP=kafka:9092 Deploy/kafka/create-topics.sh
#
#   BOOTSTRAP       brokers, HOST:PORT; required
#   PARTITIONS      partitions of each topic; 8
#   REPLICAS        copies of each partition; 3
#   MIN_INSYNC      copies that must have a record before it counts as written; 2, or 1 with fewer replicas
#   COMMAND_CONFIG  a file of client properties, for TLS and SASL
#   LOGS            if set, also the topics for logs that follow (topics.logs)
#   EXPORT          if set, also the topic for what the exporter's store refuses (kind: export)
#   LINKS           if set, also the topic of links (topics.links)
#   METRICS         if set, also the topic for metrics of all spans (topics.metrics)
#   KAFKA_TOPICS    the tool; kafka-topics.sh
set -euo pipefail

: "${BOOTSTRAP:?set the brokers, such as BOOTSTRAP=kafka:9092}"
partitions=${PARTITIONS:-8}
replicas=${REPLICAS:-3}
min_insync=${MIN_INSYNC:-$((replicas < 2 ? 1 : 2))}

client=("${KAFKA_TOPICS:-kafka-topics.sh}" --bootstrap-server "$BOOTSTRAP")
if [ -n "${COMMAND_CONFIG:-}" ]; then client+=(--command-config "$COMMAND_CONFIG"); fi

# topics.yaml gives the reason for each value.
create() {
  local topic=$1 config=()
  shift
  for property in "$@" "min.insync.replicas=$min_insync"; do config+=(--config "$property"); done
  "${client[@]}" --create --if-not-exists --topic "$topic" \
    --partitions "$partitions" --replication-factor "$replicas" "${config[@]}"
}

create spans message.timestamp.type=LogAppendTime retention.ms=21600000 max.message.bytes=1048588
create decisions cleanup.policy=delete retention.ms=604800000 max.message.bytes=1114124
create verdicts cleanup.policy=delete retention.ms=86400000 max.message.bytes=1114124
create sampled retention.ms=86400000 max.message.bytes=1114124
create spans.dead-letters retention.ms=604800000 max.message.bytes=16842752
create stats cleanup.policy=compact max.message.bytes=1048588

topics=(spans decisions verdicts sampled spans.dead-letters stats)
if [ -n "${LOGS:-}" ]; then
  # At least logs.wait, and the longest outage to survive. As spans.
  create logs message.timestamp.type=LogAppendTime retention.ms=21600000 max.message.bytes=1048588
  create sampled-logs retention.ms=86400000 max.message.bytes=1114124
  topics+=(logs sampled-logs)
fi
if [ -n "${EXPORT:-}" ]; then
  create sampled.dead-letters retention.ms=604800000 max.message.bytes=16842752
  topics+=(sampled.dead-letters)
fi
if [ -n "${LINKS:-}" ]; then
  # Twice links.remember. Every lane reads it from its beginning.
  create links retention.ms=7200000 segment.ms=1800000 max.message.bytes=1048588
  topics+=(links)
fi
if [ -n "${METRICS:-}" ]; then
  # The longest outage of the metrics' store to survive. As sampled.
  create metrics retention.ms=86400000 max.message.bytes=1114124
  topics+=(metrics)
fi

for topic in "${topics[@]}"; do
  "${client[@]}" --describe --topic "$topic"
done
