/* librdkafka's public interface, and its in-process mock cluster. */
#pragma once
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
